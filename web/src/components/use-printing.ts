/** Whether the page is being printed, for content that is only on paper. */
import { useSyncExternalStore } from "react";
import { flushSync } from "react-dom";

let isPrinting = false;
const listeners = new Set<() => void>();
/** Closed folds and scrolling tables, restored afterwards. */
let unfolded: HTMLDetailsElement[] = [];
let wide: HTMLElement[] = [];

function change(value: boolean): void {
  isPrinting = value;
  // The browser starts the print layout as soon as this returns.
  flushSync(() => {
    for (const listener of listeners) listener();
  });
}

function begin(): void {
  change(true);
  unfolded = [...document.querySelectorAll<HTMLDetailsElement>('[data-part="text"] details:not([open])')];
  for (const fold of unfolded) fold.open = true;
  // Tables are measured again at the width of the paper; the marker used by the print style must not change with it.
  wide = [...document.querySelectorAll<HTMLElement>("[data-message] [data-more]")];
  for (const table of wide) table.dataset.wide = "";
}

function end(): void {
  for (const fold of unfolded) fold.open = false;
  for (const table of wide) delete table.dataset.wide;
  unfolded = [];
  wide = [];
  change(false);
}

function subscribe(listener: () => void): () => void {
  if (listeners.size === 0) {
    window.addEventListener("beforeprint", begin);
    window.addEventListener("afterprint", end);
  }
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    window.removeEventListener("beforeprint", begin);
    window.removeEventListener("afterprint", end);
  };
}

export const usePrinting = (): boolean => useSyncExternalStore(subscribe, () => isPrinting);
