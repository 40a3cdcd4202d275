/** Texts, numbers and times in the user's language. */
import { createContext, type ReactNode, useContext, useMemo } from "react";
import { type Dictionary, en } from "./en";
import { zh } from "./zh";

export type Language = "zh" | "en";

export interface Text {
  language: Language;
  words: Dictionary;
  /** Replaces `{name}`. */
  fill(sentence: string, values: Record<string, string | number>): string;
  number(value: number, digits?: number): string;
  /** Milliseconds as "0.4 s", "12 s", "2 min 5 s". */
  duration(ms: number): string;
}

export function textOf(language: Language): Text {
  const words = language === "zh" ? zh : en;
  const format = new Intl.NumberFormat(language);
  const number = (value: number, digits = 0) =>
    digits === 0
      ? format.format(Math.round(value))
      : new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);
  const unit = (value: number, name: "second" | "minute", digits = 0) =>
    new Intl.NumberFormat(language, {
      style: "unit",
      unit: name,
      unitDisplay: "narrow",
      maximumFractionDigits: digits,
    }).format(value);
  const fill: Text["fill"] = (sentence, values) =>
    sentence.replace(/\{(\w+)\}/g, (whole, name: string) => {
      const value = values[name];
      return value === undefined ? whole : typeof value === "number" ? number(value) : value;
    });
  const duration = (ms: number) => {
    const seconds = ms / 1000;
    if (seconds < 10) return unit(seconds, "second", seconds < 1 ? 2 : 1);
    if (seconds < 60) return unit(Math.round(seconds), "second");
    return `${unit(Math.floor(seconds / 60), "minute")} ${unit(Math.round(seconds % 60), "second")}`;
  };
  return { language, words, fill, number, duration };
}

const TextContext = createContext<Text>(textOf("en"));

export function TextProvider({ language, children }: { language: Language; children: ReactNode }) {
  const text = useMemo(() => textOf(language), [language]);
  return <TextContext value={text}>{children}</TextContext>;
}

export const useText = (): Text => useContext(TextContext);

/** The browser's preferred language among the available ones. */
export function preferred(languages: readonly string[]): Language {
  for (const language of languages) {
    if (language.toLowerCase().startsWith("zh")) return "zh";
    if (language.toLowerCase().startsWith("en")) return "en";
  }
  return "en";
}
