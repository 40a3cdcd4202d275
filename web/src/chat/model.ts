/** The page's model of a conversation. */
import type { ChoiceBody, ContinueFrame, Fault, SendFrame, Usage } from "../protocol/frames";
import type { Choice } from "./choice";

/** A user message. `parent` is the answer that it follows, or null; siblings of one parent are branches. */
export interface UserMessage {
  role: "user";
  /** Made by the page, and its id on the wire: a message that is sent twice is answered once. */
  id: string;
  parent: string | null;
  text: string;
  /** Epoch milliseconds. */
  created: number;
  /** `queued`: in the outbox, no socket yet; `stale`: queued for more than an hour, the user has to confirm it. */
  delivery: "queued" | "stale" | "sent" | "accepted" | "refused";
  fault?: Fault;
}

export type Outcome =
  /** Requested; no text yet. */
  | "waiting"
  | "streaming"
  | "done"
  /** Stopped by the user. The text so far stays. */
  | "stopped"
  /** Interrupted, or failed before any text. */
  | "failed";

export interface Asked {
  /** Chat id on the wire at that time; the conversation may have another one by now. */
  chat: string;
  trigger: SendFrame["trigger"] | ContinueFrame["trigger"];
  messageId?: string;
  body?: ChoiceBody;
}

/** An answer. Siblings (with the same `parent`) are regenerated answers. */
export interface AssistantMessage {
  role: "assistant";
  /** Made by the page; stable over resumes, also before the gateway has assigned an id. */
  id: string;
  parent: string;
  /** The gateway's id of the answer. */
  serverId?: string;
  text: string;
  reasoning: string;
  /** Number of the last event contained in these texts (docs/PROTOCOL.md, Numbers); absent: none. */
  applied?: number;
  /** The run whose number that is, if it went on with the answer; absent: the first. */
  run?: number;
  /** How it was sent: repeated unchanged if it is unknown whether it arrived. */
  asked?: Asked;
  /** Reasoning time, once the answer has begun. */
  reasoningMs?: number;
  created: number;
  outcome: Outcome;
  /** `length`: cut by the token limit. */
  finishReason?: string;
  fault?: Fault;
  model?: string;
  usage?: Usage;
  firstTokenMs?: number;
  durationMs?: number;
  /** Transient notices: queue position, retry, omitted turns. */
  queuePosition?: number;
  retrying?: { attempt: number; afterMs: number };
  omittedTurns?: number;
  /** The connection to the model broke, and another attempt follows. */
  moving?: boolean;
  /** The number at which the text before was withdrawn. */
  restartedAt?: number;
  /** Followed in too many places; this one no longer follows. */
  takenOver?: boolean;
}

export type Message = UserMessage | AssistantMessage;

/** Whether it is an unfinished answer. */
export const isRunning = (
  message: Message | undefined,
): message is AssistantMessage & { outcome: "waiting" | "streaming" } =>
  message?.role === "assistant" && (message.outcome === "waiting" || message.outcome === "streaming");

/** Whether the answer was asked to go on. */
export const isContinuation = ({ asked }: Pick<AssistantMessage, "asked">): boolean =>
  asked?.trigger === "continue";

/** Whether the conversation has an unfinished answer. */
export function isAnswering(conversation: Pick<Conversation, "messages"> | undefined): boolean {
  for (const message of Object.values(conversation?.messages ?? {})) if (isRunning(message)) return true;
  return false;
}

export interface Head {
  id: string;
  title: string;
  /** Named by the user; it no longer follows the first message. */
  titled: boolean;
  created: number;
  updated: number;
  /** It has an unfinished answer: loaded when the page starts. */
  pending?: boolean;
}

export interface Conversation extends Head {
  /** Every message ever, by id. */
  messages: Record<string, Message>;
  /** Chosen child of each message (`""` for the first ones): which branch is shown. */
  chosen: Record<string, string>;
  /** Instructions for the model; used only where the gateway allows them. */
  system: string;
  /** The model and the parameters of the next turn. */
  choice: Choice;
  /** Incremented when the shown branch is not the one that the gateway remembers: see `wireId`. */
  epoch: number;
  /** Turns that the gateway should remember under that id: message and answer, by the page's ids, oldest first. */
  remembered: [user: string, answer: string][];
  /** Messages that were taken back; another tab that still has them removes them too. */
  gone: string[];
}

/** The chat id on the wire. Another branch is another chat for the gateway, rebuilt from the transcript. */
export function wireId(conversation: Pick<Conversation, "id" | "epoch">): string {
  return conversation.epoch === 0 ? conversation.id : `${conversation.id}.${conversation.epoch}`;
}

/** A message with its position among its siblings: "‹2/3›". */
export interface Shown {
  id: string;
  index: number;
  siblings: string[];
}
