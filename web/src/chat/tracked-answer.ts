/** One answer that is not finished: what is known of it, and what becomes of it after a refusal or a loss. */
import type { Link } from "../connection/link";
import type { Fault } from "../protocol/frames";
import type { PageConfig } from "./contract";
import type { AssistantMessage, Conversation } from "./model";
import type { Remembered } from "./page-config";
import { type Cursor, cursorAfter } from "./reduce";

export interface TrackedAnswer {
  conversation: string;
  answer: AssistantMessage;
  /** The request that is open for it; none while there is no socket. */
  request: string | null;
  isResume: boolean;
  /** It finds out whether the question arrived: the answer may be an older one. */
  isProbe: boolean;
  cursor: Cursor;
  /** Asked by another tab: it is followed, and never asked again from here. */
  isForeign: boolean;
  tries: number;
  /** It tries again by itself after a while. */
  isRetryScheduled: boolean;
}

/** What the follows need of the rest. */
export interface TrackerHost {
  link(): Link;
  config(): PageConfig | null;
  conversation(id: string): Conversation | undefined;
  setConversation(conversation: Conversation): void;
  /** The answer has news; gathered, and shown with the next frame. */
  written(conversation: string, answer: AssistantMessage, isForeign: boolean): void;
  /** Something was put to the gateway: to be stored soon, so that it is not put twice. */
  asked(conversation: string): void;
  /** The answer is finished, or is no longer followed. */
  settled(conversation: string, answer: AssistantMessage): void;
  /** A message was not taken, or nothing came of it. */
  failed(conversation: string, answer: AssistantMessage): void;
  transcript(chat: string): Promise<Remembered | null>;
  now(): number;
  newId(prefix: string): string;
}

export const TRIES_MAX = 5;
/** Requests of ours that were not taken: the gateway does not hold the message. */
const NOT_TAKEN = new Set([
  "empty_message",
  "message_too_long",
  "malformed",
  "bad_id",
  "unsupported_part",
  "queue_full",
]);
/** Taken out of the gateway's memory, whatever was shown. */
const WITHDRAWN = new Set(["input_refused", "output_refused"]);
/** They pass by themselves. */
const PASSING = new Set(["too_often", "too_many_requests", "unavailable"]);

export const isNotTaken = (fault: Fault): boolean => NOT_TAKEN.has(fault.code);
export const isWithdrawn = (fault: Fault | undefined): boolean => WITHDRAWN.has(fault?.code ?? "");

export function newTrackedAnswer(
  conversation: string,
  answer: AssistantMessage,
  isForeign: boolean,
): TrackedAnswer {
  return {
    conversation,
    answer,
    request: null,
    isResume: false,
    isProbe: false,
    cursor: cursorAfter(answer.applied),
    isForeign,
    tries: 0,
    isRetryScheduled: false,
  };
}

/** An answer that some other message of the conversation has already; also one without a name. */
export const isKnown = (conversation: Conversation, serverId: string | undefined): boolean =>
  serverId === undefined ||
  Object.values(conversation.messages).some(
    (message) => message.role === "assistant" && message.serverId === serverId,
  );

/** What a refused request leads to. */
type AfterRefusal = "next-socket" | "taken-over" | "open-again" | "resume-anew" | "recall" | "fail";

export function afterRefusal(fault: Fault, isResume: boolean): AfterRefusal {
  // Nothing new is taken there: with the next socket it goes on.
  if (fault.code === "draining") return "next-socket";
  if (fault.code === "taken_over") return "taken-over";
  if (PASSING.has(fault.code)) return "open-again";
  if (!isResume) return "fail";
  return fault.code === "bad_resume" ? "resume-anew" : "recall";
}

/** What the gateway's memory says of an answer that it no longer tells. */
type AfterRecall =
  | { kind: "ask-again" | "resume-anew" | "unknown" }
  | { kind: "done" | "interrupted"; text: string };

export function afterRecall(
  tracked: TrackedAnswer,
  isProbe: boolean,
  conversation: Conversation,
  remembered: Remembered | null,
): AfterRecall {
  const answers = remembered?.answers;
  const newest = () => [...(answers?.keys() ?? [])].findLast((id) => !isKnown(conversation, id));
  const serverId = isProbe ? newest() : tracked.answer.serverId;
  if (isProbe && serverId === undefined) return { kind: "ask-again" };
  const found = serverId === undefined ? undefined : answers?.get(serverId);
  if (!found) return { kind: "unknown" };
  if (found.isWriting && tracked.tries < TRIES_MAX) return { kind: "resume-anew" };
  const text = found.text.length >= tracked.answer.text.length ? found.text : tracked.answer.text;
  return { kind: found.incomplete ? "interrupted" : "done", text };
}
