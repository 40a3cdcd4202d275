/** What a conversation is, as the page keeps it. */
import type { Fault, SendFrame, Usage } from "../protocol/frames";

/** A message as it was asked. `parent` is the answer (or nothing) that it follows; siblings of one parent are branches. */
export interface UserMessage {
  role: "user";
  /** Made by the page, and its name on the wire: a message that is sent twice is not answered twice. */
  id: string;
  parent: string | null;
  text: string;
  /** Epoch milliseconds. */
  created: number;
  /** `queued`: in the outbox, no socket yet; `stale`: queued for more than an hour, a person must say so again. */
  delivery: "queued" | "stale" | "sent" | "accepted" | "refused";
  fault?: Fault;
}

export type Outcome =
  /** Asked; nothing written yet. */
  | "waiting"
  | "streaming"
  | "done"
  /** By the person. What was written stays. */
  | "stopped"
  /** It broke off, or failed before anything was written. */
  | "failed";

export interface Asked {
  /** The chat's name on the wire then; the conversation may have another one by now. */
  chat: string;
  trigger: SendFrame["trigger"];
  messageId?: string;
}

/** An answer. Siblings (the same `parent`) are answers that were made again. */
export interface AssistantMessage {
  role: "assistant";
  /** Made by the page; stable over resumes, also before the gateway has named the answer. */
  id: string;
  parent: string;
  /** What the gateway calls it. */
  serverId?: string;
  text: string;
  reasoning: string;
  /** The last number of the answer that is in these texts (docs/PROTOCOL.md, Numbers); absent: none. */
  applied?: number;
  /** How it was put to the gateway: said in the same words again when nobody knows whether they arrived. */
  asked?: Asked;
  /** How long it thought, once it has begun to answer. */
  reasoningMs?: number;
  created: number;
  outcome: Outcome;
  /** `length`: cut by the token cap. */
  finishReason?: string;
  fault?: Fault;
  model?: string;
  usage?: Usage;
  firstTokenMs?: number;
  durationMs?: number;
  /** Transient news: place in the queue, another attempt, turns left out. */
  queuePosition?: number;
  retrying?: { attempt: number; afterMs: number };
  omittedTurns?: number;
  /** It is open in too many places; this one no longer follows. */
  takenOver?: boolean;
}

export type Message = UserMessage | AssistantMessage;

/** An answer that is not finished. */
export const isRunning = (
  message: Message | undefined,
): message is AssistantMessage & { outcome: "waiting" | "streaming" } =>
  message?.role === "assistant" && (message.outcome === "waiting" || message.outcome === "streaming");

/** An answer of the conversation is not finished. */
export function isAnswering(conversation: Pick<Conversation, "messages"> | undefined): boolean {
  for (const message of Object.values(conversation?.messages ?? {})) if (isRunning(message)) return true;
  return false;
}

export interface Head {
  id: string;
  title: string;
  /** The person named it; it no longer follows the first message. */
  titled: boolean;
  created: number;
  updated: number;
  /** Something in it is not answered yet: to be looked at when the page starts. */
  pending?: boolean;
}

export interface Conversation extends Head {
  /** Every message ever, by id. */
  messages: Record<string, Message>;
  /** Chosen child of each message (`""` for the first ones): which branch is shown. */
  chosen: Record<string, string>;
  /** Instructions for the model; used only where the gateway allows them. */
  system: string;
  /** Counts up when the branch that is shown is not the one which the gateway remembers: see `wireId`. */
  epoch: number;
  /** What the gateway should remember under that name: a message and its answer, by the page's names, oldest first. */
  remembered: [user: string, answer: string][];
  /** Messages that were taken back: another tab that still has them drops them too. */
  gone: string[];
}

/** What the gateway calls the conversation. Another branch is another chat to it, rebuilt from the transcript. */
export function wireId(conversation: Pick<Conversation, "id" | "epoch">): string {
  return conversation.epoch === 0 ? conversation.id : `${conversation.id}.${conversation.epoch}`;
}

/** A message with its place among its siblings: "‹2/3›". */
export interface Shown {
  id: string;
  index: number;
  siblings: string[];
}
