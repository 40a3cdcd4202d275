/** Whether the page is being printed: for what is on paper and not on the screen. */
import { useSyncExternalStore } from "react";
import { flushSync } from "react-dom";

let isPrinting = false;
const told = new Set<() => void>();
/** Folds that were closed, and tables that scroll: both are put back afterwards. */
let unfolded: HTMLDetailsElement[] = [];
let wide: HTMLElement[] = [];

function change(value: boolean): void {
  isPrinting = value;
  // The browser lays the paper out as soon as this returns.
  flushSync(() => {
    for (const tell of told) tell();
  });
}

function begin(): void {
  change(true);
  unfolded = [...document.querySelectorAll<HTMLDetailsElement>('[data-part="text"] details:not([open])')];
  for (const fold of unfolded) fold.open = true;
  // What is out of sight now is measured again when the paper has another width; what the style of paper goes by must not change with it.
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

function subscribe(tell: () => void): () => void {
  if (told.size === 0) {
    window.addEventListener("beforeprint", begin);
    window.addEventListener("afterprint", end);
  }
  told.add(tell);
  return () => {
    told.delete(tell);
    if (told.size > 0) return;
    window.removeEventListener("beforeprint", begin);
    window.removeEventListener("afterprint", end);
  };
}

export const usePrinting = (): boolean => useSyncExternalStore(subscribe, () => isPrinting);
