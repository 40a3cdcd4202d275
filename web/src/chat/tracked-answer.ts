/** One unfinished answer: its state, and how to continue after a rejection or a loss. */
import type { Link } from "../connection/link";
import type { Fault } from "../protocol/frames";
import type { PageConfig } from "./contract";
import type { AssistantMessage, Conversation } from "./model";
import type { Remembered } from "./page-config";
import { type Cursor, cursorAfter } from "./reduce";

export interface TrackedAnswer {
  conversation: string;
  answer: AssistantMessage;
  /** Its open request; null without a socket. */
  request: string | null;
  isResume: boolean;
  /** Finds out whether the question arrived: the answer may be an older one. */
  isProbe: boolean;
  cursor: Cursor;
  /** Asked by another tab: it is followed, but never sent from here. */
  isForeign: boolean;
  tries: number;
  /** A retry is scheduled. */
  isRetryScheduled: boolean;
}

/** What the tracker needs from the store. */
export interface TrackerHost {
  link(): Link;
  config(): PageConfig | null;
  conversation(id: string): Conversation | undefined;
  setConversation(conversation: Conversation): void;
  /** The answer has changed; changes are batched per frame. */
  written(conversation: string, answer: AssistantMessage, isForeign: boolean): void;
  /** A question was sent: stored soon, so that it is not sent twice. */
  asked(conversation: string): void;
  /** The gateway offers something else than this page knows. */
  renewOffer(): void;
  /** The answer is finished, or is no longer followed. */
  settled(conversation: string, answer: AssistantMessage): void;
  /** A message was not accepted, or its answer failed. */
  failed(conversation: string, answer: AssistantMessage): void;
  transcript(chat: string): Promise<Remembered | null>;
  now(): number;
  newId(prefix: string): string;
}

export const TRIES_MAX = 5;
/** Rejections after which the gateway does not have the message. */
const NOT_TAKEN = new Set([
  "empty_message",
  "message_too_long",
  "malformed",
  "bad_id",
  "unsupported_part",
  "queue_full",
  "model_not_found",
  "bad_parameter",
]);
/** Rejections of a choice: the gateway does not offer what this page believes. */
const OF_OFFER = new Set(["model_not_found", "bad_parameter"]);
/** Errors after which the gateway removes the turn, even if text was shown. */
const WITHDRAWN = new Set(["input_refused", "output_refused"]);
/** Temporary rejections. */
const PASSING = new Set(["too_often", "too_many_requests", "unavailable"]);

export const isNotTaken = (fault: Fault): boolean => NOT_TAKEN.has(fault.code);
export const isOfOffer = (fault: Fault): boolean => OF_OFFER.has(fault.code);
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

/** Whether another message of the conversation has this answer's id, or it has none. */
export const isKnown = (conversation: Conversation, serverId: string | undefined): boolean =>
  serverId === undefined ||
  Object.values(conversation.messages).some(
    (message) => message.role === "assistant" && message.serverId === serverId,
  );

/** Reaction to a rejected request. */
type AfterRefusal = "next-socket" | "taken-over" | "open-again" | "resume-anew" | "recall" | "fail";

export function afterRefusal(fault: Fault, isResume: boolean): AfterRefusal {
  // The gateway accepts nothing new: continue on the next socket.
  if (fault.code === "draining") return "next-socket";
  if (fault.code === "taken_over") return "taken-over";
  if (PASSING.has(fault.code)) return "open-again";
  if (!isResume) return "fail";
  return fault.code === "bad_resume" ? "resume-anew" : "recall";
}

/** What the gateway's transcript tells about an answer that is no longer streamed. */
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
