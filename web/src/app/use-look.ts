/** Applies theme and language to the document. */
import { useEffect, useState } from "react";
import type { Settings } from "../chat/contract";
import { useMedia } from "../components/use-media";
import { type Language, preferred } from "../i18n/use-text";

export function useTheme(theme: Settings["theme"]): void {
  const prefersDark = useMedia("(prefers-color-scheme: dark)");
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
