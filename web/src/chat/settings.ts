/** The user's settings, stored in this browser. */
import { readLocal, writeLocal } from "../storage/local";
import type { Settings } from "./contract";

const KEY = "tidegate.settings";
const DEFAULTS: Settings = { theme: "system", language: "system", sendKey: "enter" };
const CHOICES: { [K in keyof Settings]: readonly Settings[K][] } = {
  theme: ["system", "light", "dark"],
  language: ["system", "zh", "en"],
  sendKey: ["enter", "mod-enter"],
};

const chosen = <K extends keyof Settings>(name: K, value: unknown): Settings[K] =>
  CHOICES[name].find((choice) => choice === value) ?? DEFAULTS[name];

export function readSettings(): Settings {
  let stored: Record<string, unknown> = {};
  try {
    stored = (JSON.parse(readLocal(KEY) ?? "{}") ?? {}) as Record<string, unknown>;
  } catch {
    // Damaged: use the defaults.
  }
  return {
    theme: chosen("theme", stored.theme),
    language: chosen("language", stored.language),
    sendKey: chosen("sendKey", stored.sendKey),
  };
}

export function writeSettings(settings: Settings): void {
  writeLocal(KEY, JSON.stringify(settings));
}
