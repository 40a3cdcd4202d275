/** Export and import of conversations. */
import { fromChatGpt, isChatGpt } from "./chatgpt";
import { readConversation } from "./check";
import { type Conversation, isRunning } from "./model";
import { shown } from "./tree";

const FORMAT = "tidegate-conversations";
const VERSION = 1;

/** The shown branch as Markdown. */
export function toMarkdown(conversation: Conversation, names: { user: string; assistant: string }): string {
  const parts = [`# ${conversation.title}`];
  for (const { id } of shown(conversation)) {
    const message = conversation.messages[id];
    if (message && message.text !== "") parts.push(`## ${names[message.role]}`, message.text.trimEnd());
  }
  return `${parts.join("\n\n")}\n`;
}

/** All branches as JSON. */
export function toJson(conversations: Conversation[]): string {
  return `${JSON.stringify({ format: FORMAT, version: VERSION, conversations }, null, 2)}\n`;
}

/** Nothing in an imported file is still running, nor known to a gateway under its id. */
function settled(conversation: Conversation, id: string): Conversation {
  const messages = Object.fromEntries(
    Object.entries(conversation.messages).map(([key, message]) => {
      if (message.role === "user") {
        return [
          key,
          { ...message, delivery: message.delivery === "refused" ? "refused" : "accepted" } as const,
        ];
      }
      return [key, isRunning(message) ? ({ ...message, outcome: "stopped" } as const) : message];
    }),
  );
  return { ...conversation, id, messages, epoch: 0, remembered: [] };
}

/** Limit against mistakes; the page must stay usable during the import. */
export const FILE_BYTES_MAX = 128 * 1024 * 1024;
export const CONVERSATIONS_MAX = 20_000;
const MESSAGES_MAX = 20_000;
/** The page renders again after this much work. */
const SLICE_MS = 30;

export type Problem =
  | "unreadable"
  | "foreign"
  /** The file is ChatGPT's archive, not the file in it. */
  | "archive"
  | "tooLarge"
  | "tooMany"
  /** Valid but empty. */
  | "nothing"
  | "storage";

export interface Read {
  conversations: Conversation[];
  /** Number of damaged entries. */
  skipped: number;
}

const count = (value: unknown): number =>
  typeof value === "object" && value !== null ? Object.keys(value).length : 0;

/** The reader for the entries of a file; undefined if the format is unknown. */
function readerOf(value: unknown, newId: (prefix: string) => string, now: number) {
  if (isChatGpt(value)) {
    const read = (entry: unknown) =>
      count((entry as { mapping?: unknown })?.mapping) <= MESSAGES_MAX
        ? fromChatGpt(entry, newId, now)
        : undefined;
    return { entries: value as unknown[], read };
  }
  const { format, conversations } = (value ?? {}) as { format?: unknown; conversations?: unknown };
  if (format !== FORMAT || !Array.isArray(conversations)) return undefined;
  const read = (entry: unknown) => {
    if (count((entry as { messages?: unknown })?.messages) > MESSAGES_MAX) return undefined;
    const conversation = readConversation(entry);
    return conversation && settled(conversation, newId("c"));
  };
  return { entries: conversations as unknown[], read };
}

/** Reads a file of ours or ChatGPT's without blocking the page. */
export async function fromFile(
  file: Blob,
  newId: (prefix: string) => string,
  now: () => number,
): Promise<Read | Problem> {
  if (file.size > FILE_BYTES_MAX) return "tooLarge";
  let value: unknown;
  try {
    const text = await file.text();
    if (text.startsWith("PK\u0003\u0004")) return "archive";
    value = JSON.parse(text);
  } catch {
    return "unreadable";
  }
  const reader = readerOf(value, newId, now());
  if (!reader) return "foreign";
  if (reader.entries.length > CONVERSATIONS_MAX) return "tooMany";
  const conversations: Conversation[] = [];
  let began = performance.now();
  for (const entry of reader.entries) {
    const read = reader.read(entry);
    if (read && Object.keys(read.messages).length > 0) conversations.push(read);
    if (performance.now() - began < SLICE_MS) continue;
    await new Promise((done) => setTimeout(done, 0));
    began = performance.now();
  }
  if (conversations.length === 0) return "nothing";
  return { conversations, skipped: reader.entries.length - conversations.length };
}
