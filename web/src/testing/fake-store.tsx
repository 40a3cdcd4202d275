/** A store without a gateway, for rendering tests: state is set directly, and actions are recorded. */
import { act, type RenderResult, render } from "@testing-library/react";
import type { ReactNode } from "react";
import type { StoreApi } from "zustand";
import { createStore } from "zustand/vanilla";
import type { ChatActions, ChatState, ChatStore } from "../chat/contract";
import type { AssistantMessage, Conversation, UserMessage } from "../chat/model";
import { ChatProvider } from "../chat/use-chat";
import { type Language, TextProvider } from "../i18n/use-text";

export interface FakeStore extends StoreApi<ChatStore> {
  /** `[action, ...arguments]`, in order. */
  done: unknown[][];
  drafts: Map<string, string>;
}

const STATE: ChatState = {
  ready: true,
  config: null,
  operator: { title: "", notice: "", links: [] },
  link: { kind: "live" },
  linkTroubled: false,
  linkLeaving: false,
  returned: 0,
  storage: "ok",
  heads: [],
  current: "c",
  open: {},
  writing: {},
  settings: { theme: "system", language: "system", sendKey: "enter" },
  removed: null,
};

const NAMES = [
  "openConversation",
  "rename",
  "remove",
  "undoRemove",
  "send",
  "stop",
  "regenerate",
  "goOn",
  "edit",
  "choose",
  "resend",
  "takeBack",
  "follow",
  "setSystem",
  "setChoice",
  "renewOffer",
  "setSettings",
  "reconnect",
] as const;

export function fakeStore(change: Partial<ChatState> = {}): FakeStore {
  const done: unknown[][] = [];
  const drafts = new Map<string, string>();
  const noted = Object.fromEntries(
    NAMES.map((name) => [name, (...args: unknown[]) => void done.push([name, ...args])]),
  );
  const actions = {
    ...noted,
    newConversation: () => "c",
    draft: (id: string) => drafts.get(id) ?? "",
    saveDraft: (id: string, text: string) => void drafts.set(id, text),
    search: async (query: string) => {
      done.push(["search", query]);
      return [];
    },
    exportMarkdown: async () => "",
    exportJson: async () => "",
    importFile: async () => ({ taken: 0, skipped: 0 }),
  } as unknown as ChatActions;
  const store = createStore<ChatStore>(() => ({ ...STATE, ...actions, ...change }));
  return Object.assign(store, { done, drafts });
}

export const question = (change: Partial<UserMessage> = {}): UserMessage => ({
  role: "user",
  id: "u",
  parent: null,
  text: "What is a tide?",
  created: 1,
  delivery: "accepted",
  ...change,
});

export const answer = (change: Partial<AssistantMessage> = {}): AssistantMessage => ({
  role: "assistant",
  id: "a",
  parent: "u",
  text: "",
  reasoning: "",
  created: 2,
  outcome: "waiting",
  ...change,
});

export function conversation(...messages: (UserMessage | AssistantMessage)[]): Conversation {
  return {
    id: "c",
    title: "Tides",
    titled: false,
    created: 1,
    updated: 1,
    messages: Object.fromEntries(messages.map((message) => [message.id, message])),
    chosen: Object.fromEntries(messages.map((message) => [message.parent ?? "", message.id])),
    system: "",
    choice: {},
    epoch: 0,
    remembered: [],
    gone: [],
  };
}

/** Renders with a store and a language. */
export function draw(store: FakeStore, drawn: ReactNode, language: Language = "en"): RenderResult {
  const wrapper = ({ children }: { children: ReactNode }) => (
    <ChatProvider store={store}>
      <TextProvider language={language}>{children}</TextProvider>
    </ChatProvider>
  );
  return render(drawn, { wrapper });
}

/** Changes the state and renders. */
export const put = (store: FakeStore, change: Partial<ChatState>): void => act(() => store.setState(change));
