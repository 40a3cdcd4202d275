/** What the store and its actions share. A file of its own, so that neither imports the other. */
import type { StoreApi } from "zustand/vanilla";
import type { Link, LinkEvents } from "../connection/link";
import type { Drafts } from "../storage/drafts";
import type { TailStore } from "../storage/tail-store";
import type { Vault, VaultState } from "../storage/vault";
import type { AnswerTracker } from "./answer-tracker";
import type { Autosave } from "./autosave";
import type { ChatStore } from "./contract";
import type { AssistantMessage, Conversation, Head } from "./model";
import type { Remembered } from "./page-config";
import type { Tabs } from "./tabs";
import type { Tails } from "./tails";

/** What the store is made of; tests replace these. */
export interface StoreParts {
  link(events: LinkEvents): Link;
  vault(onState: (state: VaultState) => void): Vault<Head, Conversation>;
  drafts: Drafts;
  tails: TailStore;
  transcript(chat: string): Promise<Remembered | null>;
  /** Asks the gateway again what it offers; the store gets its new configuration. */
  renewOffer(): void;
  perFrame(flush: () => void): () => void;
  now(): number;
  newId(prefix: string): string;
  /** Name of the channel between tabs. */
  tabs: string;
}

/** What the actions work on. */
export interface StoreContext {
  parts: StoreParts;
  store: StoreApi<ChatStore>;
  tracker: AnswerTracker;
  autosave: Autosave;
  tails: Tails;
  vault: Vault<Head, Conversation>;
  tabs: Tabs;
  link(): Link;
  /** Replaces an open conversation and schedules its storing. */
  put(conversation: Conversation): void;
  load(id: string): Promise<Conversation | undefined>;
}

/** The conversation with the latest state of its answers. */
export function withLatest(
  conversation: Conversation,
  writing: Record<string, AssistantMessage>,
): Conversation {
  const newer = Object.values(writing).filter(({ id }) => conversation.messages[id]);
  if (newer.length === 0) return conversation;
  const messages = { ...conversation.messages };
  for (const answer of newer) messages[answer.id] = answer;
  return { ...conversation, messages };
}
