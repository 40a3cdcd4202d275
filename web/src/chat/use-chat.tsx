/** How components reach the store. */
import { createContext, type ReactNode, useContext } from "react";
import { type StoreApi, useStore } from "zustand";
import type { ChatActions, ChatStore } from "./contract";
import type { Message } from "./model";

const ChatContext = createContext<StoreApi<ChatStore> | null>(null);

export function ChatProvider({ store, children }: { store: StoreApi<ChatStore>; children: ReactNode }) {
  return <ChatContext value={store}>{children}</ChatContext>;
}

export function useChatStore(): StoreApi<ChatStore> {
  const store = useContext(ChatContext);
  if (!store) throw new Error("outside of ChatProvider");
  return store;
}

/** Selects a part of the state; select small, existing objects: a new object each time would render forever. */
export function useChat<T>(select: (state: ChatStore) => T): T {
  return useStore(useChatStore(), select);
}

/** A stable object, so that an effect may depend on it; the state itself changes. */
export function useActions(): ChatActions {
  return useChatStore().getInitialState();
}

/** The latest state of a message: while it is generated, that is not yet in its conversation. */
export function useMessage(conversation: string, id: string): Message | undefined {
  return useChat((state) => state.writing[id] ?? state.open[conversation]?.messages[id]);
}
