/** After a deploy, parts of the page that were not loaded yet may be gone: drafts are saved, and the page reloads once. */
import type { ChatStore } from "../chat/contract";

const KEY = "tidegate.reloaded";
const AGAIN_MS = 60_000;

interface Store {
  getState(): ChatStore;
  flush(): void;
}

export function reloadOnce(store: Store): void {
  window.addEventListener("vite:preloadError", (event) => {
    // During an answer, the text stays plain instead.
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
