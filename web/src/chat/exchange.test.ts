/** What goes out comes back; junk comes to nothing. */
import { Blob } from "node:buffer";
import fc from "fast-check";
import { expect, test } from "vitest";
import { readConversation } from "./check";
import { CONVERSATIONS_MAX, FILE_BYTES_MAX, fromFile, toJson } from "./exchange";
import { newId } from "./ids";
import { shown } from "./tree";
import { edit, emptyConversation, submit } from "./turns";

// The one of jsdom cannot be read.
const read = (text: string) => fromFile(new Blob([text]) as unknown as File, newId, () => 7);
const talk = (id: string) => submit(emptyConversation(id, 1), "one", 2, newId).conversation;

test("an export read again has all branches, and nothing of it is still written", async () => {
  const first = submit(emptyConversation("c-1", 1), "one", 2, newId);
  const both = edit(first.conversation, first.question.id, "two", 3, newId)?.conversation;
  const again = both && (await read(toJson([both])));
  const [back] = typeof again === "object" ? again.conversations : [];
  expect(Object.keys(back?.messages ?? {})).toEqual(Object.keys(both?.messages ?? {}));
  expect(back?.id).not.toBe("c-1");
  expect(
    Object.values(back?.messages ?? {}).map((message) => "outcome" in message && message.outcome),
  ).not.toContain("waiting");
});

test("an unknown file is reported, not thrown", async () => {
  expect(await read("{")).toBe("unreadable");
  expect(await read("")).toBe("unreadable");
  expect(await read("PK\u0003\u0004 and so on")).toBe("archive");
  for (const junk of ["null", "[]", "7", '[{"title":"x"}]', '{"format":"else","conversations":[]}']) {
    expect(await read(junk)).toBe("foreign");
  }
  expect(await read(toJson([]))).toBe("nothing");
  expect(await read('[{"mapping":{}}]')).toBe("nothing");
});

test("a file beyond the bounds is refused before it is read", async () => {
  const huge = { size: FILE_BYTES_MAX + 1, text: () => Promise.reject(new Error("read")) } as unknown as File;
  expect(await fromFile(huge, newId, () => 7)).toBe("tooLarge");
  const many = { format: "tidegate-conversations", conversations: Array(CONVERSATIONS_MAX + 1).fill(0) };
  expect(await read(JSON.stringify(many))).toBe("tooMany");
});

test("damaged conversations are left out, and counted", async () => {
  const good = talk("c-1");
  const text = toJson([good, { ...good, id: "" }, { ...good, messages: {} }]);
  expect(await read(text)).toMatchObject({ conversations: [{ title: "one" }], skipped: 2 });
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
