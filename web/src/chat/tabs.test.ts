/** Two tabs of one browser: what is done in one is seen in the other, and is done once. */
import { expect, test, vi } from "vitest";
import { openTab, questions, vaultOf } from "../testing/tab";

/** Two tabs with one conversation open, whose first question was answered. */
async function two(browser: string) {
  const first = openTab(browser, true);
  await vi.waitFor(() => expect(first.store.getState().ready).toBe(true));
  const id = first.store.getState().newConversation();
  first.store.getState().send(id, "hello");
  first.answer(first.sent[0], "msg-1", "good day");
  await vi.waitFor(() => expect(Object.values(textsOf(first, id))).toEqual(["hello", "good day"]));
  first.store.flush();
  const second = openTab(browser, true);
  await vi.waitFor(() => expect(second.store.getState().heads).toHaveLength(1));
  await second.store.getState().openConversation(id);
  return { first, second, id, close: () => [first, second].forEach((tab) => void tab.store.close()) };
}

type Tab = ReturnType<typeof openTab>;
const textsOf = ({ store }: Tab, id: string) =>
  Object.values(store.getState().open[id]?.messages ?? {}).map(({ text }) => text);

test("a question from one tab is followed in the other, and asked once", async () => {
  const { first, second, id, close } = await two("follow");
  first.store.getState().send(id, "and then?");
  await vi.waitFor(() => expect(second.sent.map(({ type }) => type)).toEqual(["resume"]));
  second.answer(second.sent[0], "msg-2", "the same words");
  first.answer(first.sent[1], "msg-2", "the same words");
  const wanted = ["hello", "good day", "and then?", "the same words"];
  await vi.waitFor(() => expect(textsOf(second, id)).toEqual(wanted));
  await vi.waitFor(() => expect(textsOf(first, id)).toEqual(wanted));
  expect([...questions(first.sent), ...questions(second.sent)]).toEqual(["hello", "and then?"]);
  close();
});

test("a new name, a deletion and its undoing reach the other tab", async () => {
  const { first, second, id, close } = await two("names");
  const titles = () => second.store.getState().heads.map(({ title }) => title);
  first.store.getState().rename(id, "Tides");
  await vi.waitFor(() => expect(titles()).toEqual(["Tides"]));
  first.store.getState().remove(id);
  await vi.waitFor(() => expect(titles()).toEqual([]));
  first.store.getState().undoRemove();
  await vi.waitFor(() => expect(titles()).toEqual(["Tides"]));
  expect(textsOf(first, id)).toEqual(["hello", "good day"]);
  close();
});

test("what both write at the same time is all kept", async () => {
  const { first, second, id, close } = await two("both");
  first.store.getState().send(id, "from the first");
  second.store.getState().send(id, "from the second");
  const all = ["from the first", "from the second", "good day", "hello"];
  const titles = (tab: Tab) =>
    textsOf(tab, id)
      .filter((text) => text !== "")
      .sort();
  await vi.waitFor(() => expect(titles(first)).toEqual(all));
  await vi.waitFor(() => expect(titles(second)).toEqual(all));
  // Whichever of them stored last.
  const kept = async () => Object.values((await vaultOf("both").load(id))?.messages ?? {});
  await vi.waitFor(async () => expect(await kept()).toHaveLength(6));
  close();
});

test("what is taken back in one tab is gone in both, and stays gone", async () => {
  const { first, second, id, close } = await two("gone");
  for (const tab of [first, second]) tab.become({ kind: "offline" });
  first.store.getState().send(id, "a mistake");
  await vi.waitFor(() => expect(textsOf(second, id)).toContain("a mistake"));
  const messages = Object.values(first.store.getState().open[id]?.messages ?? {});
  const mistake = messages.find(({ text }) => text === "a mistake");
  first.store.getState().takeBack(id, mistake?.id ?? "");
  await vi.waitFor(() => expect(textsOf(second, id)).toEqual(["hello", "good day"]));
  second.store.getState().rename(id, "Another name");
  await vi.waitFor(() => expect(first.store.getState().heads[0]?.title).toBe("Another name"));
  expect(textsOf(first, id)).toEqual(["hello", "good day"]);
  close();
});
