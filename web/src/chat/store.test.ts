/** The store with real storage: a tab that is killed takes nothing with it. */
import { afterEach, expect, test, vi } from "vitest";
import type { Chunk } from "../protocol/frames";
import { openTab, questions, vaultOf } from "../testing/tab";
import type { Conversation } from "./model";
import { readConfig } from "./page-config";
import { TROUBLED_MS } from "./store";
import { shown } from "./tree";

afterEach(() => void vi.useRealTimers());

test("20 messages without a socket survive the tab, and go one after the other", {
  timeout: 20_000,
}, async () => {
  const first = openTab("outbox", false);
  const id = first.store.getState().newConversation();
  for (let n = 0; n < 20; n += 1) first.store.getState().send(id, `message ${n}`);
  first.store.flush();
  await vi.waitFor(async () => {
    expect(Object.keys((await vaultOf("outbox").load(id))?.messages ?? {})).toHaveLength(40);
  });
  const second = openTab("outbox", true);
  await vi.waitFor(() => expect(second.sent).toHaveLength(1));
  for (let n = 0; n < 20; n += 1) second.answer(second.sent[n], `msg-${n}`, "yes");
  expect(questions(second.sent)).toEqual(Array.from({ length: 20 }, (_, n) => `message ${n}`));
  first.store.close();
  second.store.close();
});

test("more conversations than a socket may carry requests take turns", async () => {
  const { store, sent, answer } = openTab("many", true);
  store.setState({ config: readConfig({ limits: { requests: 4 } }) });
  const { newConversation, send } = store.getState();
  const wanted = Array.from({ length: 9 }, (_, n) => `in conversation ${n}`);
  for (const text of wanted) send(newConversation(), text);
  expect(questions(sent)).toEqual(wanted.slice(0, 3));
  answer(sent[1], "msg-1", "yes");
  expect(questions(sent)).toEqual(wanted.slice(0, 4));
  for (let n = 0; n < wanted.length; n += 1) if (n !== 1) answer(sent[n], `msg-${n}`, "yes");
  expect(questions(sent)).toEqual(wanted);
  store.close();
});

test("a connection that is lost is spoken of only when it does not come back at once", () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const { store, become } = openTab("troubled", true);
  const isTroubled = () => store.getState().linkTroubled;
  become({ kind: "waiting", until: 0, attempt: 1, cause: "lost" });
  vi.advanceTimersByTime(TROUBLED_MS - 1);
  become({ kind: "live" });
  vi.advanceTimersByTime(TROUBLED_MS);
  expect(isTroubled()).toBe(false);
  // Attempts in between do not begin the time anew.
  become({ kind: "waiting", until: 0, attempt: 1, cause: "lost" });
  vi.advanceTimersByTime(TROUBLED_MS - 1);
  become({ kind: "connecting", attempt: 2 });
  vi.advanceTimersByTime(1);
  expect(isTroubled()).toBe(true);
  become({ kind: "live" });
  expect(isTroubled()).toBe(false);
  store.close();
});

test("a doubt has waited long enough, and is spoken of at once", () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const { store, become, sent } = openTab("doubted", true);
  const isTroubled = () => store.getState().linkTroubled;
  store.getState().send(store.getState().newConversation(), "hello");
  become({ kind: "live", doubted: 5_000 });
  expect(isTroubled()).toBe(true);
  become({ kind: "live" });
  expect(isTroubled()).toBe(false);
  // It was live all the time: nothing is asked again.
  expect(questions(sent)).toEqual(["hello"]);
  become({ kind: "live", doubted: 5_000 });
  become({ kind: "waiting", until: 0, attempt: 1, cause: "silent" });
  expect(isTroubled()).toBe(true);
  store.close();
});

test("a question that a draining gateway refuses late is put to the next socket, which is there already", () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const { store, sent, refuse, answer } = openTab("late", true);
  const { newConversation, send } = store.getState();
  const id = newConversation();
  send(id, "hello");
  refuse(sent[0], "draining");
  // The gateway did not take it: until it is put again it may be taken back.
  expect(Object.values(store.getState().open[id]?.messages ?? {})[0]).toMatchObject({ delivery: "queued" });
  vi.advanceTimersByTime(1_000);
  expect(questions(sent)).toEqual(["hello", "hello"]);
  answer(sent[1], "msg-1", "good day");
  expect(Object.values(store.getState().open[id]?.messages ?? {}).map(({ text }) => text)).toEqual([
    "hello",
    "good day",
  ]);
  store.close();
});

test("what was open on one of two sockets goes on with the other, and nothing else is touched", () => {
  const { store, sent, lose, answer } = openTab("two", true);
  const { newConversation, send } = store.getState();
  const [first, second] = [newConversation(), newConversation()];
  send(first, "one");
  send(second, "two");
  answer(sent[1], "msg-2", "later");
  send(second, "three");
  lose(...sent.slice(0, 1));
  expect(questions(sent)).toEqual(["one", "two", "three", "one"]);
  answer(sent[2], "msg-3", "still here");
  answer(sent[3], "msg-1", "again");
  const texts = (id: string) =>
    Object.values(store.getState().open[id]?.messages ?? {}).map(({ text }) => text);
  expect([texts(first), texts(second)]).toEqual([
    ["one", "again"],
    ["two", "later", "three", "still here"],
  ]);
  store.close();
});

test("only the last question that was not sent is taken back, and its words with it", () => {
  const { store } = openTab("back", false);
  const { newConversation, send, takeBack, draft } = store.getState();
  const id = newConversation();
  send(id, "first");
  send(id, "second");
  const texts = () => Object.values(store.getState().open[id]?.messages ?? {}).map(({ text }) => text);
  const named = (wanted: string) =>
    Object.values(store.getState().open[id]?.messages ?? {}).find(({ text }) => text === wanted)?.id ?? "";
  takeBack(id, named("first"));
  expect(texts()).toEqual(["first", "", "second", ""]);
  takeBack(id, named("second"));
  expect(texts()).toEqual(["first", ""]);
  expect(draft(id)).toBe("second");
  expect(store.getState().returned).toBe(1);
  store.close();
});

test("what was put to the gateway is not taken back, and its answer goes on", () => {
  const { store, sent, answer } = openTab("asked", true);
  const { newConversation, send, takeBack } = store.getState();
  const id = newConversation();
  send(id, "hello");
  const messages = () => Object.values(store.getState().open[id]?.messages ?? {});
  takeBack(id, messages()[0]?.id ?? "");
  answer(sent[0], "msg-1", "good day");
  expect(messages().map(({ text }) => text)).toEqual(["hello", "good day"]);
  store.close();
});

test("an answer that was stopped gets its usage when the gateway sends it", () => {
  const { store, sent, frame } = openTab("stopped", true);
  const { newConversation, send, stop } = store.getState();
  const id = newConversation();
  send(id, "hello");
  const requestId = sent[0]?.requestId ?? "";
  const chunk = (sequence: number, chunk: Chunk) => frame({ type: "chunk", requestId, sequence, chunk });
  chunk(0, { type: "start", messageId: "msg-1" });
  chunk(1, { type: "delta", kind: "text", id: "1", text: "good" });
  stop(id);
  chunk(2, { type: "delta", kind: "text", id: "1", text: " day" });
  const metadata = { usage: { output_tokens: 7 }, time_to_first_token_ms: 40, duration_ms: 90 };
  chunk(3, { type: "metadata", metadata });
  chunk(4, { type: "abort" });
  frame({ type: "end", requestId });
  chunk(5, { type: "metadata", metadata: { usage: { output_tokens: 9 } } });
  const answer = Object.values(store.getState().open[id]?.messages ?? {})[1];
  expect(answer).toMatchObject({
    outcome: "stopped",
    text: "good",
    usage: { output_tokens: 7 },
    firstTokenMs: 40,
    durationMs: 90,
  });
  store.close();
});

test("a clock that is set back an hour changes neither the order nor what is sent", () => {
  vi.useFakeTimers({ toFake: ["Date"], now: 10_000_000 });
  const { store, sent, become, answer } = openTab("clock", false);
  const { newConversation, send } = store.getState();
  const id = newConversation();
  send(id, "before");
  vi.setSystemTime(10_000_000 - 3_600_000);
  send(id, "after");
  become({ kind: "live" });
  expect(questions(sent)).toEqual(["before"]);
  answer(sent[0], "msg-1", "yes");
  expect(questions(sent)).toEqual(["before", "after"]);
  answer(sent[1], "msg-2", "yes");
  const conversation = store.getState().open[id] as Conversation;
  const texts = shown(conversation).map((entry) => conversation.messages[entry.id]?.text);
  expect(texts).toEqual(["before", "yes", "after", "yes"]);
  store.close();
});
