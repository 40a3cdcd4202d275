/** What a frame does to an answer. Live and resumed frames go the same way, and nothing else writes an answer's text. */
import type { Chunk, Metadata, ServerFrame } from "../protocol/frames";
import { type AssistantMessage, isRunning } from "./model";

/** Where one request is in its answer. */
export interface Cursor {
  /** The number that the next chunk of this request must have. */
  next: number;
  /** It tells the answer from the beginning: what is there already is replaced. */
  replay: boolean;
}

export type Verdict =
  | "go-on"
  /** The request is done, and the answer too. */
  | "over"
  /** A chunk is missing: resume from the last number that was applied. */
  | "hole"
  /** The gateway speaks of another answer: resume from the beginning. */
  | "another"
  /** It gives no answer now: the transcript may have it. */
  | "no-active"
  /** The request was refused. */
  | "refused";

export interface Step {
  answer: AssistantMessage;
  cursor: Cursor;
  verdict: Verdict;
}

/** A request that resumes after `applied`, or that tells all. */
export function cursorAfter(applied: number | undefined): Cursor {
  return applied === undefined ? { next: 0, replay: true } : { next: applied + 1, replay: false };
}

/** Drops news that was true only while the answer was awaited. */
function settled(answer: AssistantMessage): AssistantMessage {
  const { queuePosition: _, retrying: __, ...rest } = answer;
  return rest;
}

function ended(answer: AssistantMessage, outcome: AssistantMessage["outcome"]): AssistantMessage {
  return { ...settled(answer), outcome };
}

function written(answer: AssistantMessage, kind: "text" | "reasoning", delta: string, now: number) {
  const next: AssistantMessage = { ...settled(answer), outcome: "streaming" };
  if (kind === "reasoning") next.reasoning += delta;
  else {
    next.text += delta;
    if (next.reasoning !== "" && next.reasoningMs === undefined)
      next.reasoningMs = Math.max(0, now - next.created);
  }
  return next;
}

/** What the gateway says of the run: joined to what is known. */
export function informed(answer: AssistantMessage, metadata: Metadata | undefined): AssistantMessage {
  const { model, usage, time_to_first_token_ms: first, duration_ms: duration } = metadata ?? {};
  return {
    ...answer,
    ...(model === undefined ? {} : { model }),
    ...(usage ? { usage } : {}),
    ...(first === undefined ? {} : { firstTokenMs: first }),
    ...(duration === undefined ? {} : { durationMs: duration }),
  };
}

function apply(answer: AssistantMessage, chunk: Chunk, now: number): AssistantMessage {
  switch (chunk.type) {
    case "start":
      return {
        ...informed(answer, chunk.metadata),
        ...(chunk.messageId === undefined ? {} : { serverId: chunk.messageId }),
      };
    case "delta":
      return written(answer, chunk.kind, chunk.text, now);
    case "finish":
      return { ...ended(informed(answer, chunk.metadata), "done"), finishReason: chunk.reason };
    case "metadata":
      return informed(answer, chunk.metadata);
    case "abort":
      return ended(answer, "stopped");
    case "error":
      return { ...ended(answer, "failed"), fault: chunk.fault };
    case "queue":
      return { ...answer, queuePosition: chunk.position };
    case "notice":
      return chunk.kind === "retrying"
        ? { ...answer, retrying: { attempt: chunk.attempt ?? 2, afterMs: chunk.afterMs ?? 0 } }
        : answer;
    case "history":
      return { ...answer, omittedTurns: chunk.omittedTurns };
    default:
      return answer;
  }
}

/** An answer that is told anew: its texts are empty, everything else is as it was. */
function emptied(answer: AssistantMessage): AssistantMessage {
  const { applied: _, reasoningMs: __, ...rest } = settled(answer);
  return { ...rest, text: "", reasoning: "" };
}

function chunkArrived(
  answer: AssistantMessage,
  cursor: Cursor,
  frame: Extract<ServerFrame, { type: "chunk" }>,
  now: number,
): Step {
  if (frame.sequence < cursor.next) return { answer, cursor, verdict: "go-on" };
  if (frame.sequence > cursor.next) return { answer, cursor, verdict: "hole" };
  const begins = cursor.replay && (frame.entry === undefined ? frame.sequence : (frame.entry ?? -1)) >= 0;
  let next = begins ? emptied(answer) : answer;
  next = apply(next, frame.chunk, now);
  const number = frame.entry === undefined ? frame.sequence : frame.entry;
  if (number !== null) next = { ...next, applied: number };
  return {
    answer: next,
    cursor: { next: frame.sequence + 1, replay: cursor.replay && !begins },
    verdict: "go-on",
  };
}

/** Takes one frame of the answer's request. */
export function reduce(answer: AssistantMessage, cursor: Cursor, frame: ServerFrame, now: number): Step {
  const same = (verdict: Verdict): Step => ({ answer, cursor, verdict });
  switch (frame.type) {
    case "start": {
      const { messageId } = frame;
      const isAnother =
        messageId !== undefined && answer.serverId !== undefined && messageId !== answer.serverId;
      return same(isAnother ? "another" : "go-on");
    }
    case "chunk":
      return chunkArrived(answer, cursor, frame, now);
    case "end":
      // An end without a last word is one of a gateway that we do not understand: what there is, stays.
      return { answer: isRunning(answer) ? ended(answer, "done") : answer, cursor, verdict: "over" };
    case "error":
      return { answer, cursor, verdict: "refused" };
    case "no-active":
      return same("no-active");
    default:
      return same("go-on");
  }
}
