/** State and actions available to the features. A single store (zustand) holds all of it; components select small parts. */
import type { LinkState } from "../connection/link";
import type { Choice, OfferedModel } from "./choice";
import type { Problem } from "./exchange";
import type { AssistantMessage, Conversation, Head } from "./model";
import type { Operator } from "./operator";

/** The part of `GET /api/config` that the page uses. */
export interface PageConfig {
  version: string;
  /** Build of the page that the gateway serves now; it may be newer than this one. */
  build: string;
  operator: Operator;
  simulated: boolean;
  /** Empty while the model service is away, or offers nothing. */
  models: OfferedModel[];
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
  /** Key that sends; the other one inserts a line break. */
  sendKey: "enter" | "mod-enter";
}

export interface Imported {
  taken: number;
  /** Number of entries that could not be read. */
  skipped: number;
  problem?: Problem;
}

export interface Hit {
  conversation: string;
  /** The first matching message; null if only the title matches. */
  message: string | null;
  excerpt: string;
}

type StorageState = "ok" | "full" | "blocked";

export interface ChatState {
  /** Storage has been read; before that, nothing is shown. */
  ready: boolean;
  config: PageConfig | null;
  /** From the gateway, or from the last visit. */
  operator: Operator;
  link: LinkState;
  /** Whether a problem is shown: not live for 1.5 s, or live and doubted. */
  linkTroubled: boolean;
  /** Answers still arrive on a socket that accepts nothing new: its gateway is restarting. */
  linkLeaving: boolean;
  /** Counts texts put back into a draft by the program: the composer then reads the draft again. */
  returned: number;
  storage: StorageState;
  /** Newest first. */
  heads: Head[];
  current: string | null;
  /** Open conversations. */
  open: Record<string, Conversation>;
  /** Answers being generated, by id, newer than in `open`; each changes at most once per frame. */
  writing: Record<string, AssistantMessage>;
  settings: Settings;
  /** A recently removed conversation that can be restored. */
  removed: Head | null;
}

export interface ChatActions {
  /** The new conversation has no id in the list until its first message. */
  newConversation(): string;
  openConversation(id: string): Promise<void>;
  rename(id: string, title: string): void;
  remove(id: string): void;
  undoRemove(): void;
  /** Searches titles and texts; at most 50 hits. */
  search(query: string): Promise<Hit[]>;

  send(conversation: string, text: string): void;
  /** Keeps the text so far. */
  stop(conversation: string): void;
  regenerate(conversation: string, answer: string): void;
  /** Goes on with an answer that broke off. */
  goOn(conversation: string, answer: string): void;
  edit(conversation: string, message: string, text: string): void;
  /** Shows another branch: `message` is the sibling to be shown. */
  choose(conversation: string, message: string): void;
  /** Sends a failed, rejected or stale message again. */
  resend(conversation: string, message: string): void;
  /** Takes back a message that waits for a socket. */
  takeBack(conversation: string, message: string): void;
  /** Follows an answer here again after it was taken over elsewhere. */
  follow(conversation: string): void;
  setSystem(conversation: string, text: string): void;
  /** The model and the parameters of the next turns. */
  setChoice(conversation: string, choice: Choice): void;
  /** Asks the gateway again what it offers. */
  renewOffer(): void;

  draft(conversation: string): string;
  saveDraft(conversation: string, text: string): void;

  exportMarkdown(conversation: string, names: { user: string; assistant: string }): Promise<string>;
  exportJson(conversations?: string[]): Promise<string>;
  /** Imports all or nothing of a file of ours or ChatGPT's; never throws, returns the problem. */
  importFile(file: Blob, progress: (done: number, of: number) => void): Promise<Imported>;

  setSettings(change: Partial<Settings>): void;
  /** Retries the connection now. */
  reconnect(): void;
}

export type ChatStore = ChatState & ChatActions;
