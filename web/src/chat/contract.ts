/** What the features may read and do. One store (zustand) has all of it; components select small pieces. */
import type { LinkState } from "../connection/link";
import type { Problem } from "./exchange";
import type { AssistantMessage, Conversation, Head } from "./model";
import type { Operator } from "./operator";

/** `GET /api/config`, as far as the page uses it. */
export interface PageConfig {
  version: string;
  /** Of the page that the gateway serves now; it may be newer than this one. */
  build: string;
  operator: Operator;
  simulated: boolean;
  models: { id: string }[];
  limits: {
    messageBytes: number;
    transcriptBytes: number;
    requests: number;
    readers: number;
    queuedMessages: number;
  };
  features: { reasoning: boolean; clientSystemPrompt: boolean };
}

export interface Settings {
  theme: "system" | "light" | "dark";
  language: "system" | "zh" | "en";
  /** Which key sends; the other makes a new line. */
  sendKey: "enter" | "mod-enter";
}

export interface Imported {
  taken: number;
  /** Entries of the file that could not be read. */
  skipped: number;
  problem?: Problem;
}

export interface Hit {
  conversation: string;
  /** Of the first message that matches; null: only the title does. */
  message: string | null;
  excerpt: string;
}

type StorageState = "ok" | "full" | "blocked";

export interface ChatState {
  /** Storage was read: before that nothing is known, and nothing should be said. */
  ready: boolean;
  config: PageConfig | null;
  /** As told now, or at the last visit. */
  operator: Operator;
  link: LinkState;
  /** True when the page should speak of it: not live for 1.5 s, or live and doubted. */
  linkTroubled: boolean;
  /** Answers still arrive on a socket that takes nothing new: its gateway is restarting. */
  linkLeaving: boolean;
  /** Counts texts that came back to a draft without being typed: whoever shows the draft reads it again. */
  returned: number;
  storage: StorageState;
  /** Newest first. */
  heads: Head[];
  current: string | null;
  /** Conversations that were opened. */
  open: Record<string, Conversation>;
  /** Answers that are being written, by id, newer than in `open`; each changes at most once per frame. */
  writing: Record<string, AssistantMessage>;
  settings: Settings;
  /** A conversation that was removed a moment ago and can be had back. */
  removed: Head | null;
}

export interface ChatActions {
  /** The new conversation has no id in the list until its first message. */
  newConversation(): string;
  openConversation(id: string): Promise<void>;
  rename(id: string, title: string): void;
  remove(id: string): void;
  undoRemove(): void;
  /** In titles and texts; at most 50. */
  search(query: string): Promise<Hit[]>;

  send(conversation: string, text: string): void;
  /** Keeps what was written. */
  stop(conversation: string): void;
  regenerate(conversation: string, answer: string): void;
  edit(conversation: string, message: string, text: string): void;
  /** Shows another branch: `message` is the sibling to be shown. */
  choose(conversation: string, message: string): void;
  /** A message that failed, was refused or is stale. */
  resend(conversation: string, message: string): void;
  /** A message that waits. */
  takeBack(conversation: string, message: string): void;
  /** Follow here again an answer that was taken over elsewhere. */
  follow(conversation: string): void;
  setSystem(conversation: string, text: string): void;

  draft(conversation: string): string;
  saveDraft(conversation: string, text: string): void;

  exportMarkdown(conversation: string, names: { user: string; assistant: string }): Promise<string>;
  exportJson(conversations?: string[]): Promise<string>;
  /** Takes all or nothing of a file of ours or ChatGPT's; throws nothing, says what was wrong. */
  importFile(file: Blob, progress: (done: number, of: number) => void): Promise<Imported>;

  setSettings(change: Partial<Settings>): void;
  /** Try the connection now. */
  reconnect(): void;
}

export type ChatStore = ChatState & ChatActions;
