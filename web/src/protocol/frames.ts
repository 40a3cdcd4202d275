/** The words of the AI SDK dialect of `/api/chat`, and what is ours in it. See docs/PROTOCOL.md. */

export interface TextPart {
  type: "text";
  text: string;
}

/** A message of a transcript, as the AI SDK spells it. */
export interface WireMessage {
  id: string;
  role: "user" | "assistant" | "system";
  parts: TextPart[];
}

export interface SendFrame {
  type: "send";
  requestId: string;
  /** The chat's name on the wire. */
  id: string;
  trigger: "submit-message" | "regenerate-message";
  /** Of the user message that is edited, or the answer that is made again. */
  messageId?: string;
  messages: WireMessage[];
}

export interface ResumeFrame {
  type: "resume";
  requestId: string;
  id: string;
  /** Id of the turn's question or answer; the gateway replies `no-active` if its newest turn is another. Absent: the newest turn. */
  messageId?: string;
  /** The last number that was applied; absent: everything from the beginning. */
  lastSequence?: number;
}

export interface AbortFrame {
  type: "abort";
  requestId: string;
}

export interface PingFrame {
  type: "ping";
  requestId: string;
}

export type ClientFrame = SendFrame | ResumeFrame | AbortFrame | PingFrame;

export interface Usage {
  input_tokens?: number;
  output_tokens?: number;
  reasoning_tokens?: number;
  cached_tokens?: number;
}

export interface Metadata {
  model?: string;
  usage?: Usage;
  time_to_first_token_ms?: number;
  duration_ms?: number;
}

/** Why something failed: a code to translate, a sentence to fall back on. */
export interface Fault {
  code: string;
  text: string;
  retryable: boolean;
  retryAfterMs?: number;
  /** Of which run, as the gateway's log has it. */
  run?: string;
  /** What the model service calls the request. */
  serviceRequest?: string;
}

export type Chunk =
  | { type: "start"; messageId?: string; metadata?: Metadata }
  | { type: "start-step" }
  | { type: "part-start"; kind: "text" | "reasoning"; id: string }
  | { type: "delta"; kind: "text" | "reasoning"; id: string; text: string }
  | { type: "part-end"; kind: "text" | "reasoning"; id: string }
  | { type: "finish-step" }
  | { type: "finish"; reason: string; metadata?: Metadata }
  | { type: "abort" }
  /** Before an end that is none of the model's own. */
  | { type: "metadata"; metadata?: Metadata }
  | { type: "error"; fault: Fault }
  | { type: "queue"; position: number }
  | { type: "notice"; kind: string; attempt?: number; afterMs?: number }
  | { type: "history"; omittedTurns: number }
  /** One of a newer gateway: it counts in the numbers, and nothing else. */
  | { type: "unknown" };

export type ServerFrame =
  | { type: "start"; requestId: string; messageId?: string }
  /** `entry`: absent = equal to `sequence`; null = news before the first word. */
  | { type: "chunk"; requestId: string; sequence: number; entry?: number | null; chunk: Chunk }
  | { type: "end"; requestId: string }
  | { type: "error"; requestId: string; fault: Fault }
  | { type: "no-active"; requestId: string }
  | { type: "pong"; requestId: string }
  /** Not understood: to be ignored, never thrown. */
  | { type: "unknown" };
