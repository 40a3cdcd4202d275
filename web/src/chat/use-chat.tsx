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

/** Selects a piece; select small ones, and existing ones: a new object each time draws for ever. */
export function useChat<T>(select: (state: ChatStore) => T): T {
  return useStore(useChatStore(), select);
}

/** The same object for ever, so that an effect may depend on it; the state of now would be another after each change. */
export function useActions(): ChatActions {
  return useChatStore().getInitialState();
}

/** A message in its newest state: while it is written, that is not yet in its conversation. */
export function useMessage(conversation: string, id: string): Message | undefined {
  return useChat((state) => state.writing[id] ?? state.open[conversation]?.messages[id]);
}
