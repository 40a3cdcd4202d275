/** Finds words in titles and messages. */
import { expect, test } from "vitest";
import { conversation, question } from "../testing/fake-store";
import { headOf } from "./check";
import type { Conversation } from "./model";
import { HITS_MAX, search } from "./search";

const named = (id: string, title: string, text: string): Conversation => ({
  ...conversation(question({ id: `m-${id}`, text })),
  id,
  title,
});
const ALL = [
  named("a", "Harbours", `${"The tide turns twice a day. ".repeat(9)}Saint-Malo\nis extreme.`),
  named("b", "潮汐发电", "用三句话介绍一下潮汐发电"),
  named("c", "TIDE tables", "nothing here"),
];
const find = (query: string, all = ALL) =>
  search(query, all.map(headOf), async (ids) => all.filter(({ id }) => ids.includes(id)));

test("finds in messages and titles, whatever the case, and says where", async () => {
  const hits = await find("tide");
  expect(hits.map(({ conversation, message }) => [conversation, message])).toEqual([
    ["a", "m-a"],
    ["c", null],
  ]);
  const [hit] = await find(" saint-malo ");
  expect(hit?.excerpt).toMatch(/^….*Saint-Malo is extreme\.$/);
});

test("finds Chinese, and nothing where there is nothing", async () => {
  expect((await find("三句话")).map(({ conversation }) => conversation)).toEqual(["b"]);
  expect(await find("不存在")).toEqual([]);
  expect(await find("  ")).toEqual([]);
});

test("a regular expression's letters are letters, and hits have an end", async () => {
  expect(await find(".*")).toEqual([]);
  const many = Array.from({ length: 3 * HITS_MAX }, (_, n) => named(`n${n}`, "", "the same"));
  expect(await find("same", many)).toHaveLength(HITS_MAX);
});
