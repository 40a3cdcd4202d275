/** What goes out comes back; junk comes to nothing. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { readConversation } from "./check";
import { fromJson, toJson } from "./exchange";
import { newId } from "./ids";
import { shown } from "./tree";
import { edit, emptyConversation, submit } from "./turns";

test("an export read again has all branches, and nothing of it is still written", () => {
  const first = submit(emptyConversation("c-1", 1), "one", 2, newId);
  const both = edit(first.conversation, first.question.id, "two", 3, newId)?.conversation;
  const read = both && fromJson(toJson([both]), newId);
  const [back] = Array.isArray(read) ? read : [];
  expect(Object.keys(back?.messages ?? {})).toEqual(Object.keys(both?.messages ?? {}));
  expect(back?.id).not.toBe("c-1");
  expect(
    Object.values(back?.messages ?? {}).map((message) => "outcome" in message && message.outcome),
  ).not.toContain("waiting");
});

test("what is no export of ours is said, not thrown", () => {
  expect(fromJson("{", newId)).toBe("unreadable");
  for (const junk of ["null", "[]", "7", '{"format":"else","conversations":[]}']) {
    expect(fromJson(junk, newId)).toBe("foreign");
  }
});

test("whatever is in a file, what is taken of it can be shown", () => {
  const messages = fc.dictionary(
    fc.constantFrom("a", "b", "c", "__proto__", "constructor"),
    fc.record(
      {
        role: fc.constantFrom("user", "assistant", "x"),
        parent: fc.constantFrom(null, "a", "b", "c", "z", 7),
        text: fc.oneof(fc.string(), fc.anything()),
        created: fc.anything(),
      },
      { requiredKeys: ["role"] },
    ),
  );
  const value = fc.record({ id: fc.constantFrom("c-1", 7, ""), messages, chosen: fc.anything() });
  fc.assert(
    fc.property(fc.oneof(value, fc.anything()), (junk) => {
      const read = readConversation(junk);
      if (read) for (const { id } of shown(read)) expect(read.messages[id]?.text).toBeTypeOf("string");
    }),
    { numRuns: 2_000 },
  );
});
