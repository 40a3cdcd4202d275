/** Decodes frames of the gateway. Unknown input becomes a value, never an exception. */
import type { Chunk, Fault, Metadata, ServerFrame, Usage } from "./frames";

type Fields = Record<string, unknown>;

const UNKNOWN: ServerFrame = { type: "unknown" };

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
/** A non-negative safe integer. */
const count = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;

/** Omits undefined fields, as `exactOptionalPropertyTypes` requires. */
function known<T extends object>(fields: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}

function fault(fields: Fields): Fault {
  return known<Fault>({
    code: text(fields.code) ?? "unknown",
    text: text(fields.errorText) ?? "",
    retryable: fields.retryable === true,
    retryAfterMs: count(fields.retryAfterMs),
    run: text(fields.run),
    serviceRequest: text(fields.serviceRequest),
  });
}

function metadata(value: unknown): Metadata | undefined {
  if (!isFields(value)) return undefined;
  const usage = isFields(value.usage)
    ? known<Usage>({
        input_tokens: count(value.usage.input_tokens),
        output_tokens: count(value.usage.output_tokens),
        reasoning_tokens: count(value.usage.reasoning_tokens),
        cached_tokens: count(value.usage.cached_tokens),
      })
    : undefined;
  return known<Metadata>({
    model: text(value.model),
    run: count(value.run),
    usage,
    time_to_first_token_ms: count(value.time_to_first_token_ms),
    duration_ms: count(value.duration_ms),
  });
}

function part(fields: Fields, kind: "text" | "reasoning", act: string): Chunk {
  const id = text(fields.id) ?? "";
  if (act === "start") return { type: "part-start", kind, id };
  if (act === "end") return { type: "part-end", kind, id };
  const delta = text(fields.delta);
  return delta === undefined ? { type: "unknown" } : { type: "delta", kind, id, text: delta };
}

function news(type: string, value: unknown): Chunk {
  const data = isFields(value) ? value : {};
  const position = count(data.position);
  const omitted = count(data.omitted_turns);
  if (type === "data-queue" && position !== undefined) return { type: "queue", position };
  if (type === "data-history" && omitted !== undefined) return { type: "history", omittedTurns: omitted };
  if (type === "data-notice") {
    return known<Extract<Chunk, { type: "notice" }>>({
      type: "notice",
      kind: text(data.kind) ?? "",
      attempt: count(data.attempt),
      afterMs: count(data.after_ms),
    });
  }
  return { type: "unknown" };
}

function chunk(value: unknown): Chunk {
  if (!isFields(value)) return { type: "unknown" };
  const type = text(value.type) ?? "";
  const details = metadata(value.messageMetadata);
  switch (type) {
    case "start":
      return known<Extract<Chunk, { type: "start" }>>({
        type: "start",
        messageId: text(value.messageId),
        metadata: details,
      });
    case "start-step":
    case "reset-step":
    case "finish-step":
    case "abort":
      return { type };
    case "finish":
      return known<Extract<Chunk, { type: "finish" }>>({
        type: "finish",
        reason: text(value.finishReason) ?? "other",
        metadata: details,
      });
    case "message-metadata":
      return known<Extract<Chunk, { type: "metadata" }>>({ type: "metadata", metadata: details });
    case "error":
      return { type: "error", fault: fault(value) };
  }
  const parts = /^(text|reasoning)-(start|delta|end)$/.exec(type);
  if (parts) return part(value, parts[1] as "text" | "reasoning", parts[2] as string);
  return type.startsWith("data-") ? news(type, value.data) : { type: "unknown" };
}

/** Decodes one text message of the socket. */
export function decode(data: unknown): ServerFrame {
  if (typeof data !== "string") return UNKNOWN;
  let frame: unknown;
  try {
    frame = JSON.parse(data);
  } catch {
    return UNKNOWN;
  }
  const requestId = isFields(frame) ? text(frame.requestId) : undefined;
  if (!isFields(frame) || requestId === undefined) return UNKNOWN;
  switch (frame.type) {
    case "start":
      return known<Extract<ServerFrame, { type: "start" }>>({
        type: "start",
        requestId,
        messageId: text(frame.messageId),
        run: count(frame.run),
      });
    case "chunk": {
      const sequence = count(frame.sequence);
      const entry = frame.entry === null ? null : count(frame.entry);
      if (sequence === undefined) return UNKNOWN;
      return known<Extract<ServerFrame, { type: "chunk" }>>({
        type: "chunk",
        requestId,
        sequence,
        entry,
        chunk: chunk(frame.chunk),
      });
    }
    case "end":
    case "no-active":
    case "pong":
      return { type: frame.type, requestId };
    case "error":
      return { type: "error", requestId, fault: fault(frame) };
    default:
      return UNKNOWN;
  }
}
