/** Whether somebody is at work on an answer that is not finished, as far as the page can know. */
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
  // What is new waits for a socket; what was taken runs on the old one.
  if (link.kind !== "live") return linkLeaving && delivery === "accepted";
  return isSound(link);
}
