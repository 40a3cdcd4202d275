/** Conversations out of the page and into it. */
import { readConversation } from "./check";
import { type Conversation, isRunning } from "./model";
import { shown } from "./tree";

const FORMAT = "tidegate-conversations";
const VERSION = 1;

/** The shown branch, to be read by people. */
export function toMarkdown(conversation: Conversation, names: { user: string; assistant: string }): string {
  const parts = [`# ${conversation.title}`];
  for (const { id } of shown(conversation)) {
    const message = conversation.messages[id];
    if (message && message.text !== "") parts.push(`## ${names[message.role]}`, message.text.trimEnd());
  }
  return `${parts.join("\n\n")}\n`;
}

/** Everything, all branches. */
export function toJson(conversations: Conversation[]): string {
  return `${JSON.stringify({ format: FORMAT, version: VERSION, conversations }, null, 2)}\n`;
}

/** Nothing in a file is still being written, nor known to a gateway under its name. */
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

/** Null: not JSON, or no file of ours. */
export function fromJson(
  text: string,
  newId: (prefix: string) => string,
): Conversation[] | "unreadable" | "foreign" {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return "unreadable";
  }
  const { format, conversations } = (value ?? {}) as { format?: unknown; conversations?: unknown };
  if (format !== FORMAT || !Array.isArray(conversations)) return "foreign";
  return conversations.flatMap((entry) => {
    const read = readConversation(entry);
    return read ? [settled(read, newId("c"))] : [];
  });
}
