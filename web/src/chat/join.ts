/** One conversation from two tabs: what either has, without what either took back. */
import { type Conversation, isRunning, type Message } from "./model";

/** What this tab has is at least as new as what another one stored. */
function isAhead(message: Message, other: Message): boolean {
  if (message.role !== "assistant" || other.role !== "assistant") return false;
  // What was taken over elsewhere is not followed again unasked: two tabs would take it from each other for ever.
  return other.outcome === "streaming" && (message.takenOver === true || !isRunning(message));
}

/** `isChanged`: mine has changes that are still to be stored. `isMore`: there is something in it that is not stored. */
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
  // The newer of two tabs says which way is shown and what the gateway remembers.
  const isNewer = stored.updated > mine.updated || (stored.updated === mine.updated && !isChanged);
  const newer = isNewer ? stored : mine;
  return { conversation: { ...newer, messages, gone }, isMore };
}
