/** Whether an unfinished answer is being worked on, as far as the page knows. */
import { isSound } from "../connection/link";
import type { ChatState } from "./contract";
import type { AssistantMessage } from "./model";

export function isAtWork(
  { link, linkLeaving, open }: Pick<ChatState, "link" | "linkLeaving" | "open">,
  conversation: string,
  answer: AssistantMessage,
): boolean {
  const question = open[conversation]?.messages[answer.parent];
  const delivery = question?.role === "user" ? question.delivery : undefined;
  if (delivery === "stale") return false;
  // New questions wait for a socket; accepted ones run on the old one.
  if (link.kind !== "live") return linkLeaving && delivery === "accepted";
  return isSound(link);
}
