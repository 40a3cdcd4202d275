/** An answer that begins anew, with the frames that the gateway sends. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { decode } from "../protocol/decode";
import { answer, conversation, question } from "../testing/fake-store";
import type { AssistantMessage } from "./model";
import { cursorAfter, reduce } from "./reduce";
import { type Tail, tailOf, withTails } from "./tail";

const FRAMES = join(import.meta.dirname, "../../../tests/fixtures/ai_sdk/server.json");
const cases: { name: string; frames: unknown[] }[] = JSON.parse(readFileSync(FRAMES, "utf8"));
const framesOf = (name: string) =>
  cases.find((one) => one.name === name)?.frames.map((frame) => JSON.stringify(frame)) ?? [];

/** The answer after each frame. */
function states(frames: string[], first: AssistantMessage): AssistantMessage[] {
  let [now, cursor] = [first, cursorAfter(first.applied)];
  return frames.map((frame) => {
    const step = reduce(now, cursor, decode(frame), 1);
    expect(step.verdict === "go-on" || step.verdict === "over").toBe(true);
    [now, cursor] = [step.answer, step.cursor];
    return now;
  });
}

const ANEW = framesOf("begins anew after its first words");

test("what was withdrawn is gone, and the new text has its model", () => {
  const all = states(ANEW, answer());
  expect(all.some(({ text }) => text === "A tide")).toBe(true);
  expect(all.some(({ moving, text }) => moving === true && text === "A tide")).toBe(true);
  expect(all.at(-1)).toMatchObject({ text: "The tide", model: "qwen-max", outcome: "done", restartedAt: 5 });
  expect(all.at(-1)?.moving).toBeUndefined();
});

test("an answer that is gone on with is one text", () => {
  const all = states(framesOf("is gone on with after its first words"), answer());
  expect(all.some(({ moving, text }) => moving === true && text === "A tide")).toBe(true);
  expect(all.at(-1)).toMatchObject({ text: "A tide rises", outcome: "done" });
  expect(all.at(-1)?.moving).toBeUndefined();
});

test("a page that resumes within the withdrawn text, or behind it, has the new one alone", () => {
  const withdrawn = answer({ text: "A tide", applied: 3, outcome: "streaming", serverId: "msg-1" });
  // The gateway continues at the reset, with a number of its own for this request.
  const rest = ANEW.slice(5).map((frame) => {
    const { sequence, entry, ...other } = JSON.parse(frame);
    return JSON.stringify(
      sequence === undefined ? other : { ...other, sequence: sequence - 1, entry: entry ?? sequence },
    );
  });
  expect(states(rest, withdrawn).at(-1)).toMatchObject({
    text: "The tide",
    model: "qwen-max",
    outcome: "done",
  });
  const behind = { ...withdrawn, text: "", applied: 5, serverId: "msg-0000000000000000000000000000002a-1" };
  const resumed = states(framesOf("resumed after it began anew"), behind);
  expect(resumed.at(-1)).toMatchObject({ text: "The tide", model: "qwen-max", outcome: "done" });
});

test("a tail of the new text is not joined to the withdrawn one, even where they look alike", () => {
  const old = "the tide is high, and the tide is high";
  const stored = answer({ text: old, applied: 9, outcome: "streaming", serverId: "msg-1" });
  const now = { ...stored, text: "so the tide is high", applied: 14, restartedAt: 11 };
  const base = { serverId: "msg-1", applied: 9, text: old.length, reasoning: 0 };
  const tail = tailOf("c", now, base) as Tail;
  const joined = withTails(conversation(question(), stored), [tail]).messages.a;
  expect(joined).toMatchObject({ text: "so the tide is high", applied: 14, restartedAt: 11 });
});
