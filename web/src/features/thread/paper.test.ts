/** How much of a long conversation is put on paper. */
import { expect, test } from "vitest";
import { leftOut, PAPER_MESSAGES_MAX, PAPER_TEXT_MAX } from "./paper";

const of = (count: number, length: number) => Array.from({ length: count }, () => length);

test.each([
  ["a short one is whole", of(24, 500), 0],
  ["as many as there may be", of(PAPER_MESSAGES_MAX, 10), 0],
  ["one more", of(PAPER_MESSAGES_MAX + 1, 10), 1],
  ["few, but long ones", of(30, PAPER_TEXT_MAX / 10), 20],
  ["one that is larger than the paper", [5, PAPER_TEXT_MAX * 2], 1],
  ["nothing at all", [], 0],
])("%s", (_, lengths, missing) => {
  expect(leftOut(lengths)).toBe(missing);
});
