/** Frames of the AI SDK dialect of `/api/chat`, with our extensions. See docs/PROTOCOL.md. */

export interface TextPart {
  type: "text";
  text: string;
}

/** A message of a transcript in the AI SDK's format. */
export interface WireMessage {
  id: string;
  role: "user" | "assistant" | "system";
  parts: TextPart[];
}

/** The model of a turn and its parameters. */
export interface ChoiceBody {
  model?: string;
  temperature?: number;
  top_p?: number;
  max_tokens?: number;
  thinking?: boolean;
}

export interface SendFrame {
  type: "send";
  requestId: string;
  /** The chat id on the wire. */
  id: string;
  trigger: "submit-message" | "regenerate-message";
  /** Id of the user message that is edited, or of the answer that is regenerated. */
  messageId?: string;
  messages: WireMessage[];
  body?: ChoiceBody;
}

/** Goes on with the newest answer, which broke off. */
export interface ContinueFrame {
  type: "send";
  requestId: string;
  id: string;
  trigger: "continue";
  messageId: string;
  body?: ChoiceBody;
}

export interface ResumeFrame {
  type: "resume";
  requestId: string;
  id: string;
  /** Id of the turn's question or answer; the gateway replies `no-active` if its newest turn is another. Absent: the newest turn. */
  messageId?: string;
  /** The last applied number; absent: everything from the beginning. */
  lastSequence?: number;
  /** The run of the answer whose number that is; absent: the first. */
  run?: number;
}

export interface AbortFrame {
  type: "abort";
  requestId: string;
}

export interface PingFrame {
  type: "ping";
  requestId: string;
}

export type ClientFrame = SendFrame | ContinueFrame | ResumeFrame | AbortFrame | PingFrame;

export interface Usage {
  input_tokens?: number;
  output_tokens?: number;
  reasoning_tokens?: number;
  cached_tokens?: number;
}

export interface Metadata {
  model?: string;
  /** The run that goes on with the answer; absent: the first. */
  run?: number;
  usage?: Usage;
  time_to_first_token_ms?: number;
  duration_ms?: number;
}

/** An error: a code to translate, and a sentence as fallback. */
export interface Fault {
  code: string;
  text: string;
  retryable: boolean;
  retryAfterMs?: number;
  /** Id of the run, as in the gateway's log. */
  run?: string;
  /** The model service's id of the request. */
  serviceRequest?: string;
}

export type Chunk =
  | { type: "start"; messageId?: string; metadata?: Metadata }
  | { type: "start-step" }
  /** What was sent of the answer is withdrawn. */
  | { type: "reset-step" }
  | { type: "part-start"; kind: "text" | "reasoning"; id: string }
  | { type: "delta"; kind: "text" | "reasoning"; id: string; text: string }
  | { type: "part-end"; kind: "text" | "reasoning"; id: string }
  | { type: "finish-step" }
  | { type: "finish"; reason: string; metadata?: Metadata }
  | { type: "abort" }
  /** Before an end that is not the model's own. */
  | { type: "metadata"; metadata?: Metadata }
  | { type: "error"; fault: Fault }
  | { type: "queue"; position: number }
  | { type: "notice"; kind: string; attempt?: number; afterMs?: number }
  | { type: "history"; omittedTurns: number }
  /** A chunk of a newer gateway: it only advances the numbers. */
  | { type: "unknown" };

export type ServerFrame =
  | { type: "start"; requestId: string; messageId?: string; run?: number }
  /** `entry`: absent = equal to `sequence`; null = a notice before the first event. */
  | { type: "chunk"; requestId: string; sequence: number; entry?: number | null; chunk: Chunk }
  | { type: "end"; requestId: string }
  | { type: "error"; requestId: string; fault: Fault }
  | { type: "no-active"; requestId: string }
  | { type: "pong"; requestId: string }
  /** Not understood: ignored. */
  | { type: "unknown" };
