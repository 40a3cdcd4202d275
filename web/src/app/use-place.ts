/** Keeps the conversation in the address (`#/c/<id>`), for reloads, bookmarks and the back button. */
import { useEffect, useState } from "react";
import type { StoreApi } from "zustand";
import type { ChatStore } from "../chat/contract";

const named = (): string | null => {
  const found = /^#\/c\/([A-Za-z0-9._:~@=+-]{1,120})$/.exec(window.location.hash);
  return found?.[1] ?? null;
};

export function usePlace(store: StoreApi<ChatStore>): { go: (id: string | null) => void } {
  const [go] = useState(() => (id: string | null) => {
    const hash = id === null ? "" : `#/c/${id}`;
    if (window.location.hash !== hash) window.history.pushState(null, "", hash || window.location.pathname);
  });
  useEffect(() => {
    const follow = async () => {
      const id = named();
      const { openConversation, newConversation } = store.getState();
      if (id !== null && id === store.getState().current) return;
      if (id !== null) await openConversation(id);
      if (store.getState().current === null || id === null) newConversation();
    };
    void follow();
    const onPop = () => void follow();
    window.addEventListener("popstate", onPop);
    return () => window.removeEventListener("popstate", onPop);
  }, [store]);
  return { go };
}
