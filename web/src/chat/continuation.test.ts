/** Which answers can be continued, and what is sent for it. */
import { expect, test } from "vitest";
import { answer, conversation, question } from "../testing/fake-store";
import { readModels } from "./choice";
import { canContinue, goneOn } from "./continuation";
import type { AssistantMessage } from "./model";
import { plan } from "./plan";

const config = {
  models: readModels([
    { id: "m", default: true, continues: true, parameters: { max_tokens: { max: 100 } } },
    { id: "other", continues: false },
  ]),
};
const broken: Partial<AssistantMessage> = {
  text: "The sea",
  outcome: "stopped",
  serverId: "msg-1",
  model: "m",
  asked: { chat: "c", trigger: "submit-message" },
};
const of = (change: Partial<AssistantMessage>) => {
  const made = answer({ ...broken, ...change });
  const open = { ...conversation(question(), made), remembered: [["u", "a"]] as [string, string][] };
  return { open, made };
};

test("one that broke off and is the newest, by a model that goes on", () => {
  const can = (change: Partial<AssistantMessage>) => {
    const { open, made } = of(change);
    return canContinue(open, made, config);
  };
  expect(can({})).toBe(true);
  expect(can({ outcome: "failed", fault: { code: "interrupted", text: "", retryable: true } })).toBe(true);
  expect(can({ outcome: "done", finishReason: "length" })).toBe(true);
  expect(can({ outcome: "done", finishReason: "stop" })).toBe(false);
  expect(can({ outcome: "failed", fault: { code: "output_refused", text: "", retryable: false } })).toBe(
    false,
  );
  expect(can({ text: " \n" })).toBe(false);
  expect(can({ model: "other" })).toBe(false);
  expect(can({ model: "gone" })).toBe(false);
  expect(can({ asked: { chat: "c.1", trigger: "submit-message" } })).toBe(false);
  const { open, made } = of({});
  expect(canContinue({ ...open, remembered: [["u2", "a2"]] }, made, config)).toBe(false);
  expect(canContinue(open, made, null)).toBe(false);
});

test("it waits with its text, and the gateway is asked for what follows alone", () => {
  const { open } = of({ applied: 7, outcome: "done", finishReason: "length", reasoning: "hm" });
  const begun = goneOn({ ...open, choice: { maxTokens: 50 } }, "a", config);
  expect(begun?.answer).toMatchObject({ text: "The sea", reasoning: "hm", outcome: "waiting" });
  expect(begun?.answer.applied).toBeUndefined();
  expect(begun?.answer.finishReason).toBeUndefined();
  const { frame } = plan(open, question(), begun?.answer as AssistantMessage, {
    transcriptBytes: 65_536,
    system: false,
  });
  expect(frame).toEqual({
    type: "send",
    id: "c",
    trigger: "continue",
    messageId: "msg-1",
    body: { max_tokens: 50 },
  });
  // What is set for another model is not set for this one.
  const other = goneOn({ ...open, choice: { model: "other", maxTokens: 50 } }, "a", config);
  expect(other?.answer.asked?.body).toBeUndefined();
});
