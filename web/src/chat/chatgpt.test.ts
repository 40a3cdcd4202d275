/** ChatGPT's export: messages with their branches, without internal steps. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { fromChatGpt, isChatGpt } from "./chatgpt";
import { readConversation } from "./check";
import { newId } from "./ids";
import type { Conversation } from "./model";
import { shown } from "./tree";

type Node = [id: string, parent: string | null, role?: string, words?: string, more?: object];

/** A conversation as the export has it. */
function exported(current: string, nodes: Node[]) {
  const mapping = Object.fromEntries(
    nodes.map(([id, parent, role, words, more], at) => {
      const content = { content_type: "text", parts: [words] };
      const message = role && { author: { role }, content, create_time: 1_700_000_000 + at, ...more };
      const children = nodes.filter(([, above]) => above === id).map(([child]) => child);
      return [id, { id, message: message ?? null, parent, children }];
    }),
  );
  return {
    title: "Tides",
    create_time: 1_700_000_000.5,
    update_time: 1_700_000_100,
    mapping,
    current_node: current,
  };
}

const read = (current: string, nodes: Node[]) =>
  fromChatGpt(exported(current, nodes), newId, 7) as Conversation;
const path = (conversation: Conversation) =>
  shown(conversation).map(({ id, siblings }) => {
    const message = conversation.messages[id];
    return `${message?.role} ${message?.text}${siblings.length > 1 ? ` of ${siblings.length}` : ""}`;
  });

const HEAD: Node[] = [
  ["root", null],
  ["sys", "root", "system", ""],
  ["ctx", "sys", "user", "who I am", { metadata: { is_visually_hidden_from_conversation: true } }],
];

test("a talk is read, with its times, its name and its model", () => {
  const conversation = read("a", [
    ...HEAD,
    ["u", "ctx", "user", "Why?"],
    [
      "a",
      "u",
      "assistant",
      "The moon\ue200cite\ue202turn0search1\ue201.",
      { metadata: { model_slug: "gpt-x" } },
    ],
  ]);
  expect(path(conversation)).toEqual(["user Why?", "assistant The moon."]);
  expect(conversation).toMatchObject({
    title: "Tides",
    titled: true,
    created: 1_700_000_000_500,
    updated: 1_700_000_100_000,
  });
  expect(Object.values(conversation.messages)[1]).toMatchObject({ model: "gpt-x", outcome: "done" });
  // What is stored is what is read again.
  expect(readConversation(JSON.parse(JSON.stringify(conversation)))).toEqual(conversation);
});

test("edited questions and other answers are branches, and the current one is shown", () => {
  const nodes: Node[] = [
    ...HEAD,
    ["u", "ctx", "user", "one"],
    ["a", "u", "assistant", "first"],
    ["b", "u", "assistant", "second"],
    ["u2", "ctx", "user", "two"],
    ["c", "u2", "assistant", "third"],
  ];
  expect(path(read("a", nodes))).toEqual(["user one of 2", "assistant first of 2"]);
  expect(path(read("c", nodes))).toEqual(["user two of 2", "assistant third"]);
  expect(path(read("nowhere", nodes))).toEqual(["user two of 2", "assistant third"]);
});

test("an answer in several steps is one answer, without the tools between", () => {
  const conversation = read("end", [
    ...HEAD,
    ["u", "ctx", "user", "Draw the tide"],
    [
      "t",
      "u",
      "assistant",
      "",
      { content: { content_type: "thoughts", thoughts: [{ content: "A curve." }] } },
    ],
    ["a", "t", "assistant", "I compute it."],
    ["call", "a", "assistant", "plot()", { recipient: "python" }],
    ["tool", "call", "tool", "ok"],
    ["end", "tool", "assistant", "Here it is."],
    ["other", "tool", "assistant", "Here it is again."],
  ]);
  expect(path(conversation)).toEqual(["user Draw the tide", "assistant I compute it.\n\nHere it is. of 2"]);
  expect(
    Object.values(conversation.messages).map((message) => "reasoning" in message && message.reasoning),
  ).toContain("A curve.");
});

test("where a turn is missing, the others still take turns", () => {
  const conversation = read("b", [
    ["root", null],
    ["a", "root", "assistant", "Welcome"],
    ["u", "a", "user", "one"],
    ["u2", "u", "user", "two"],
    ["b", "u2", "assistant", "yes"],
  ]);
  expect(path(conversation)).toEqual([
    "user …",
    "assistant Welcome",
    "user one",
    "assistant ",
    "user two",
    "assistant yes",
  ]);
});

test("images are mentioned, empty conversations are skipped", () => {
  const parts = [{ content_type: "image_asset_pointer" }, "What is this?"];
  const conversation = read("u", [
    ...HEAD,
    ["u", "ctx", "user", "", { content: { content_type: "multimodal_text", parts } }],
  ]);
  expect(path(conversation)).toEqual(["user [image]\n\nWhat is this?"]);
  expect(fromChatGpt(exported("root", HEAD), newId, 7)).toBeUndefined();
});

test("whatever is in such a file, what is taken of it can be shown and stored", () => {
  const id = fc.constantFrom("a", "b", "c", "d", "__proto__", "constructor");
  const node = fc.record({
    parent: fc.oneof(id, fc.constant(null), fc.anything()),
    message: fc.oneof(
      fc.record({
        author: fc.record({ role: fc.constantFrom("user", "assistant", "tool") }),
        content: fc.record({
          content_type: fc.constant("text"),
          parts: fc.array(fc.oneof(fc.string(), fc.anything())),
        }),
        create_time: fc.oneof(fc.double(), fc.anything()),
      }),
      fc.anything(),
    ),
  });
  fc.assert(
    fc.property(fc.dictionary(id, node), fc.oneof(id, fc.anything()), (mapping, current_node) => {
      const entry = { title: "x", mapping, current_node };
      expect(isChatGpt([entry])).toBe(true);
      const conversation = fromChatGpt(entry, newId, 7);
      if (!conversation) return;
      for (const message of Object.values(conversation.messages)) expect(message.text).toBeTypeOf("string");
      expect(readConversation(JSON.parse(JSON.stringify(conversation)))).toEqual(conversation);
      expect(shown(conversation).length).toBeGreaterThan(0);
    }),
    { numRuns: 1_000 },
  );
});
