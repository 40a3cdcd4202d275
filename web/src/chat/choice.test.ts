/** What the user chose, against what is offered. */
import { expect, test } from "vitest";
import { answering, bodyOf, goneModel, readChoice, readModels } from "./choice";

const models = readModels([
  { id: "qwen3", title: "Qwen 3", default: true, parameters: {} },
  {
    id: "free",
    title: "",
    parameters: {
      temperature: { min: 0, max: 1.99 },
      top_p: { min: 0, max: 1 },
      max_tokens: { max: 100 },
      thinking: ["on", "off"],
    },
  },
]);
const config = { models };

test("models are read, and what is damaged is left out", () => {
  expect(models.map(({ id, title, isDefault }) => [id, title, isDefault])).toEqual([
    ["qwen3", "Qwen 3", true],
    ["free", "free", false],
  ]);
  expect(models[1]).toMatchObject({
    temperature: { min: 0, max: 1.99 },
    maxTokens: { max: 100 },
    thinking: true,
  });
  expect(readModels(undefined)).toEqual([]);
  const odd = { temperature: { min: 2, max: 1 }, top_p: 7, max_tokens: { max: 0 }, thinking: "on" };
  expect(readModels([null, 7, { id: 7 }, { id: "m", parameters: odd }])).toEqual([
    { id: "m", title: "m", isDefault: false },
  ]);
  for (const [state, isDown] of [
    ["down", true],
    ["degraded", undefined],
    [7, undefined],
  ])
    expect(readModels([{ id: "m", state }])[0]?.isDown).toBe(isDown);
  // An older gateway tells only the id.
  expect(answering({}, { models: readModels([{ id: "m" }]) })?.id).toBe("m");
});

test("a model that is gone falls to the default one", () => {
  expect(answering({ model: "free" }, config)?.id).toBe("free");
  expect(goneModel({ model: "free" }, config)).toBeUndefined();
  expect(answering({ model: "llama3" }, config)?.id).toBe("qwen3");
  expect(goneModel({ model: "llama3" }, config)).toBe("llama3");
  // While nothing is known, nothing is gone.
  expect(goneModel({ model: "llama3" }, null)).toBeUndefined();
  expect(goneModel({ model: "llama3" }, { models: [] })).toBeUndefined();
  expect(answering({ model: "llama3" }, { models: [] })).toBeUndefined();
});

test("only what may be set for the model that answers is sent", () => {
  const all = { model: "free", temperature: 0.7, topP: 0.9, maxTokens: 50, thinking: false };
  expect(bodyOf(all, config)).toEqual({
    model: "free",
    temperature: 0.7,
    top_p: 0.9,
    max_tokens: 50,
    thinking: false,
  });
  expect(bodyOf({ ...all, model: "qwen3" }, config)).toEqual({ model: "qwen3" });
  expect(bodyOf({ ...all, model: "gone" }, config)).toEqual({});
  expect(bodyOf(all, null)).toEqual({});
  expect(bodyOf({ model: "free", temperature: 2, topP: 0, maxTokens: 101 }, config)).toEqual({
    model: "free",
  });
});

test("a stored choice is checked", () => {
  const choice = { model: "m", temperature: 1, topP: 0.5, maxTokens: 3, thinking: true };
  expect(readChoice(JSON.parse(JSON.stringify(choice)))).toEqual(choice);
  for (const odd of [undefined, null, 7, "m", []]) expect(readChoice(odd)).toEqual({});
  expect(readChoice({ model: "x".repeat(129), temperature: "hot", thinking: 1, maxTokens: null })).toEqual(
    {},
  );
});
