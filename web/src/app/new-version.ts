/** After a deploy, a part of the page that was not loaded yet may be gone: drafts are kept, and the page loads once more. */
import type { ChatStore } from "../chat/contract";

const KEY = "tidegate.reloaded";
const AGAIN_MS = 60_000;

interface Store {
  getState(): ChatStore;
  flush(): void;
}

export function reloadOnce(store: Store): void {
  window.addEventListener("vite:preloadError", (event) => {
    // In the middle of an answer it stays plain text instead.
    if (Object.keys(store.getState().writing).length > 0) return;
    try {
      const last = Number(sessionStorage.getItem(KEY) ?? 0);
      if (Date.now() - last < AGAIN_MS) return;
      sessionStorage.setItem(KEY, String(Date.now()));
    } catch {
      return;
    }
    event.preventDefault();
    store.flush();
    window.location.reload();
  });
}
