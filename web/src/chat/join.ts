/** Merges a conversation of two tabs: everything that either has, without what either removed. */
import { type Conversation, isRunning, type Message } from "./model";

/** This tab's message is at least as new as the stored one. */
function isAhead(message: Message, other: Message): boolean {
  if (message.role !== "assistant" || other.role !== "assistant") return false;
  // An answer that was taken over elsewhere is not followed again automatically: two tabs would take it over from each
  // other forever.
  if ((other.run ?? 0) > (message.run ?? 0)) return false;
  return other.outcome === "streaming" && (message.takenOver === true || !isRunning(message));
}

/** `isChanged`: `mine` has unsaved changes. `isMore`: the result contains messages that are not stored. */
export function joined(
  mine: Conversation,
  stored: Conversation,
  isChanged: boolean,
  follows: (answer: string) => boolean,
): { conversation: Conversation; isMore: boolean } {
  const gone = [...new Set([...mine.gone, ...stored.gone])];
  const messages = { ...mine.messages, ...stored.messages };
  for (const [id, message] of Object.entries(mine.messages)) {
    const other = stored.messages[id];
    if (!other || follows(id) || isAhead(message, other)) messages[id] = message;
  }
  for (const id of gone) delete messages[id];
  const isMore = Object.keys(messages).some((id) => !stored.messages[id]);
  // The newer of two tabs determines the shown branch and what the gateway remembers.
  const isNewer = stored.updated > mine.updated || (stored.updated === mine.updated && !isChanged);
  const newer = isNewer ? stored : mine;
  return { conversation: { ...newer, messages, gone }, isMore };
}
