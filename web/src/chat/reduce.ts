/** Applies a frame to an answer. Live and resumed frames are handled alike, and nothing else changes an answer's text. */
import type { Chunk, Metadata, ServerFrame } from "../protocol/frames";
import { type AssistantMessage, isRunning } from "./model";

/** Position of a request in its answer. */
export interface Cursor {
  /** Expected number of the next chunk of this request. */
  next: number;
  /** The answer is replayed from the beginning and replaces the existing text. */
  replay: boolean;
}

export type Verdict =
  | "go-on"
  /** Request and answer are complete. */
  | "over"
  /** A chunk is missing: resume from the last number that was applied. */
  | "hole"
  /** The frame belongs to another answer: resume from the beginning. */
  | "another"
  /** There is no answer to follow: the transcript may have it. */
  | "no-active"
  /** The request was rejected. */
  | "refused";

export interface Step {
  answer: AssistantMessage;
  cursor: Cursor;
  verdict: Verdict;
}

/** The cursor of a request that resumes after `applied`, or of a whole answer. */
export function cursorAfter(applied: number | undefined): Cursor {
  return applied === undefined ? { next: 0, replay: true } : { next: applied + 1, replay: false };
}

/** Removes notices that only apply while waiting for the answer. */
function settled(answer: AssistantMessage): AssistantMessage {
  const { queuePosition: _, retrying: __, moving: ___, ...rest } = answer;
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

/** Merges the metadata of the run. */
export function informed(answer: AssistantMessage, metadata: Metadata | undefined): AssistantMessage {
  const { model, run, usage, time_to_first_token_ms: first, duration_ms: duration } = metadata ?? {};
  return {
    ...answer,
    ...(model === undefined ? {} : { model }),
    ...(run === undefined ? {} : { run }),
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
    case "reset-step": {
      const { reasoningMs: _, ...rest } = settled(answer);
      return { ...rest, text: "", reasoning: "" };
    }
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
      if (chunk.kind === "moving") return { ...answer, moving: true };
      return chunk.kind === "retrying"
        ? { ...answer, retrying: { attempt: chunk.attempt ?? 2, afterMs: chunk.afterMs ?? 0 } }
        : answer;
    case "history":
      return { ...answer, omittedTurns: chunk.omittedTurns };
    default:
      return answer;
  }
}

/** An answer that is replayed: its texts are cleared, the rest is kept. A run that goes on with it begins with its text. */
function emptied(answer: AssistantMessage, chunk: Chunk): AssistantMessage {
  const { applied: _, run: __, restartedAt: ___, reasoningMs, ...rest } = settled(answer);
  const isContinued = chunk.type === "start" && chunk.metadata?.run !== undefined;
  if (!isContinued) return { ...rest, text: "", reasoning: "" };
  return { ...rest, text: "", ...(reasoningMs === undefined ? {} : { reasoningMs }) };
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
  let next = begins ? emptied(answer, frame.chunk) : answer;
  next = apply(next, frame.chunk, now);
  const number = frame.entry === undefined ? frame.sequence : frame.entry;
  if (number !== null) next = { ...next, applied: number };
  if (number !== null && frame.chunk.type === "reset-step") next = { ...next, restartedAt: number };
  return {
    answer: next,
    cursor: { next: frame.sequence + 1, replay: cursor.replay && !begins },
    verdict: "go-on",
  };
}

/** Applies one frame of the answer's request. */
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
      // An end without a final chunk comes from an unknown gateway version: the text so far is kept.
      return { answer: isRunning(answer) ? ended(answer, "done") : answer, cursor, verdict: "over" };
    case "error":
      return { answer, cursor, verdict: "refused" };
    case "no-active":
      return same("no-active");
    default:
      return same("go-on");
  }
}
