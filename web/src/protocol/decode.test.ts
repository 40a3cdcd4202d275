/** Reads what the gateway sends, and what something else may send. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { decode } from "./decode";

const read = (frame: unknown) => decode(JSON.stringify(frame));
const chunk = (chunk: unknown, sequence: unknown = 3) =>
  read({ type: "chunk", requestId: "r", sequence, chunk });

test("the frames of the dialect", () => {
  expect(read({ type: "start", requestId: "r", messageId: "m" })).toEqual({
    type: "start",
    requestId: "r",
    messageId: "m",
  });
  expect(chunk({ type: "text-delta", id: "t", delta: "潮" })).toEqual({
    type: "chunk",
    requestId: "r",
    sequence: 3,
    chunk: { type: "delta", kind: "text", id: "t", text: "潮" },
  });
  expect(
    read({
      type: "error",
      requestId: "r",
      errorText: "busy",
      code: "busy",
      retryable: true,
      retryAfterMs: 9,
    }),
  ).toEqual({
    type: "error",
    requestId: "r",
    fault: { code: "busy", text: "busy", retryable: true, retryAfterMs: 9 },
  });
  expect(chunk({ type: "data-queue", data: { position: 2 }, transient: true })).toMatchObject({
    chunk: { type: "queue", position: 2 },
  });
});

test("what is not known is passed over, and keeps its number", () => {
  expect(chunk({ type: "tool-input-start" })).toMatchObject({ sequence: 3, chunk: { type: "unknown" } });
  expect(chunk({ type: "text-delta", id: "t", delta: 7 })).toMatchObject({ chunk: { type: "unknown" } });
  expect(chunk({ type: "data-weather", data: 1 })).toMatchObject({ chunk: { type: "unknown" } });
  expect(chunk(null)).toMatchObject({ sequence: 3, chunk: { type: "unknown" } });
  expect(read({ type: "shrug", requestId: "r" })).toEqual({ type: "unknown" });
});

test("a number that is none makes no frame", () => {
  for (const sequence of [-1, 1.5, "3", null, 2 ** 60, undefined]) {
    expect(chunk({ type: "start" }, sequence === undefined ? "" : sequence)).toEqual({ type: "unknown" });
  }
});

test("an error without a code or a sentence is an error", () => {
  expect(read({ type: "error", requestId: "r" })).toEqual({
    type: "error",
    requestId: "r",
    fault: { code: "unknown", text: "", retryable: false },
  });
});

test("nothing makes it throw", () => {
  for (const data of ["", "{", "[]", "null", "1", '{"type":"chunk"}', new ArrayBuffer(8), undefined]) {
    expect(decode(data)).toEqual({ type: "unknown" });
  }
  fc.assert(
    fc.property(fc.json(), fc.constantFrom("start", "chunk", "end", "error", "pong"), (json, type) => {
      expect(decode(json).type).toBeTypeOf("string");
      const value: unknown = JSON.parse(json);
      const fields = typeof value === "object" && value !== null ? value : { chunk: value };
      expect(decode(JSON.stringify({ ...fields, type, requestId: "r" })).type).toBeTypeOf("string");
    }),
  );
});
