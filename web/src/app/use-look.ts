/** Puts theme and language on the document. */
import { useEffect, useState, useSyncExternalStore } from "react";
import type { Settings } from "../chat/contract";
import { type Language, preferred } from "../i18n/use-text";

const dark = () => window.matchMedia("(prefers-color-scheme: dark)");

export function useTheme(theme: Settings["theme"]): void {
  const prefersDark = useSyncExternalStore(
    (changed) => {
      const query = dark();
      query.addEventListener("change", changed);
      return () => query.removeEventListener("change", changed);
    },
    () => dark().matches,
  );
  const isDark = theme === "dark" || (theme === "system" && prefersDark);
  useEffect(() => {
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
  }, [isDark]);
}

export function useLanguage(language: Settings["language"]): Language {
  const [own, setOwn] = useState(() => preferred(navigator.languages));
  useEffect(() => {
    const changed = () => setOwn(preferred(navigator.languages));
    window.addEventListener("languagechange", changed);
    return () => window.removeEventListener("languagechange", changed);
  }, []);
  const used = language === "system" ? own : language;
  useEffect(() => {
    document.documentElement.lang = used === "zh" ? "zh-CN" : "en";
  }, [used]);
  return used;
}
