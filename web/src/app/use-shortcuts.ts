/** Keyboard shortcuts of the whole page. Fields handle their own; Escape is in `components/escape`. */
import { useEffect, useRef } from "react";

export interface Shortcuts {
  newChat: () => void;
  search: () => void;
  sidebar: () => void;
  sheet: () => void;
  focus: () => void;
}

const isField = (target: EventTarget | null): boolean =>
  target instanceof HTMLInputElement ||
  target instanceof HTMLTextAreaElement ||
  target instanceof HTMLSelectElement;

function wanted(event: KeyboardEvent): keyof Shortcuts | null {
  if (event.isComposing || event.keyCode === 229 || event.defaultPrevented) return null;
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (event.altKey) return null;
    if (event.shiftKey && key === "o") return "newChat";
    if (event.shiftKey && key === "s") return "sidebar";
    return !event.shiftKey && key === "k" ? "search" : null;
  }
  if (isField(event.target) || document.querySelector("dialog[open]")) return null;
  if (key === "?") return "sheet";
  return key === "/" ? "focus" : null;
}

export function useShortcuts(shortcuts: Shortcuts): void {
  const current = useRef(shortcuts);
  useEffect(() => {
    current.current = shortcuts;
  });
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      const action = wanted(event);
      if (!action) return;
      event.preventDefault();
      current.current[action]();
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, []);
}
