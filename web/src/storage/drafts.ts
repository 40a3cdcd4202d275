/** Unsent text by conversation, stored shortly after the last key and when the page is closed. */
import { readLocal, writeLocal } from "./local";

export const DEBOUNCE_MS = 300;
const key = (conversation: string): string => `tidegate.draft.${conversation}`;

export interface Drafts {
  read(conversation: string): string;
  write(conversation: string, text: string): void;
  flush(): void;
}

export function openDrafts(): Drafts {
  const waiting = new Map<string, string>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = () => {
    clearTimeout(timer);
    for (const [conversation, text] of waiting) writeLocal(key(conversation), text === "" ? null : text);
    waiting.clear();
  };
  return {
    read: (conversation) => waiting.get(conversation) ?? readLocal(key(conversation)) ?? "",
    write: (conversation, text) => {
      waiting.set(conversation, text);
      clearTimeout(timer);
      timer = setTimeout(flush, DEBOUNCE_MS);
    },
    flush,
  };
}
