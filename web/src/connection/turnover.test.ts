/** A gateway that drains finishes what runs on it, and takes nothing new. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FakeNet, refusal } from "../testing/fake-wires";
import { FIRST_PAUSE_MS } from "./backoff";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const end = (requestId: string) => ({ type: "end", requestId });

/** With an answer that runs on the first socket, and a question that it refused. */
async function drained(notNowMs?: number) {
  const net = new FakeNet();
  const first = await net.open();
  net.notNowMs = notNowMs;
  net.ask("runs", "chat-1");
  net.ask("new", "chat-2");
  first.say(refusal("new"));
  return { net, first };
}

test("the next socket is opened at once, with a fresh look, and the answer stays where it is", async () => {
  const { net, first } = await drained();
  expect(net.link.state.kind).toBe("connecting");
  expect(net.leaving).toEqual([true]);
  await net.open();
  expect(net.prepared).toEqual([false, true]);
  expect(net.link.state.kind).toBe("live");
  net.ask("again", "chat-2");
  expect(net.wire.asked()).toEqual(["send again"]);
  first.say({ type: "chunk", requestId: "runs", sequence: 0, chunk: { type: "start" } });
  expect(net.frames.map((frame) => frame.type)).toEqual(["error", "chunk"]);
  expect(net.lost).toEqual([]);
});

test("what concerns the running answer goes to its own socket", async () => {
  const { net, first } = await drained();
  await net.open();
  net.link.send({ type: "resume", requestId: "hole", id: "chat-1", lastSequence: 3 });
  net.link.send({ type: "resume", requestId: "other", id: "chat-3" });
  net.link.send({ type: "abort", requestId: "runs" });
  expect(first.asked().slice(2)).toEqual(["resume hole", "abort runs"]);
  expect(net.wire.asked()).toEqual(["resume other"]);
});

test("the old socket goes with its last answer, and not before", async () => {
  const { net, first } = await drained();
  await net.open();
  net.link.send({ type: "resume", requestId: "hole", id: "chat-1" });
  first.say(end("runs"));
  expect(first.isClosed).toBe(false);
  first.say(end("hole"));
  expect(first.isClosed).toBe(true);
  expect(net.leaving).toEqual([true, false]);
  expect(net.link.state).toEqual({ kind: "live" });
});

test("without another gateway it tries once per Retry-After, and soon when the old one has ended", async () => {
  const { net, first } = await drained(5_000);
  first.isAwake = true;
  await net.pass(0);
  expect(net.link.state).toMatchObject({ kind: "waiting", cause: "restart", until: Date.now() + 5_500 });
  await net.pass(60_000);
  expect(net.prepared.length).toBeGreaterThanOrEqual(10);
  expect(net.prepared.length).toBeLessThanOrEqual(2 + 60 / 5);
  expect(net.wires).toHaveLength(1);
  net.notNowMs = undefined;
  first.say(end("runs"));
  await net.pass(300 + FIRST_PAUSE_MS);
  expect(net.wires).toHaveLength(2);
});

test("an attempt that met the old gateway in its last moment is soon followed by another", async () => {
  const { net, first } = await drained(5_000);
  first.say(end("runs"));
  await net.pass(0);
  expect(net.link.state).toMatchObject({ kind: "waiting", cause: "restart" });
  net.notNowMs = undefined;
  await net.pass(300 + FIRST_PAUSE_MS);
  expect(net.wires).toHaveLength(2);
});

test("a person's wish for a new socket does not end an answer that only the old one has", async () => {
  const { net, first } = await drained();
  await net.open();
  await net.pass(5_000);
  net.link.retry();
  await net.pass(1_000);
  expect(first.isClosed).toBe(false);
  expect(first.pings()).toBe(2);
  first.say({ type: "pong", requestId: "ping-1" });
  expect(net.link.state).toEqual({ kind: "live" });
});

test("where nothing runs the same socket moves, and keeps asking by Retry-After", async () => {
  const net = new FakeNet();
  const first = await net.open();
  net.ask("new");
  net.notNowMs = 2_000;
  first.say(refusal("new"));
  await net.pass(0);
  expect(first.isClosed).toBe(true);
  expect(net.leaving).toEqual([]);
  expect(net.link.state).toMatchObject({ kind: "waiting", cause: "restart" });
  net.notNowMs = undefined;
  await net.pass(2_400);
  await net.open();
  expect(net.link.state.kind).toBe("live");
});

test("answers on an old socket that is lost are reported, those on the new one are not", async () => {
  const { net, first } = await drained();
  await net.open();
  net.ask("other", "chat-3");
  first.onclose?.({ code: 1006 });
  expect(net.lost).toEqual(["runs"]);
  expect(net.leaving).toEqual([true, false]);
  expect(net.link.state.kind).toBe("live");
});

test("an old socket that falls silent is doubted aloud, and given up", async () => {
  const { net, first } = await drained();
  await net.open();
  await net.pass(5_000);
  expect(net.link.state).toMatchObject({ kind: "live", doubted: expect.any(Number) });
  await net.pass(5_000);
  expect(first.isClosed).toBe(true);
  expect(net.lost).toEqual(["runs"]);
  expect(net.link.state).toEqual({ kind: "live" });
});

test("gateways that are replaced one by one: three old sockets at most, then a question waits", async () => {
  const net = new FakeNet();
  for (let number = 0; number < 4; number += 1) {
    const wire = await net.open();
    net.ask(`runs-${number}`);
    net.ask(`new-${number}`);
    wire.say(refusal(`new-${number}`));
  }
  await net.pass(0);
  expect(net.wires).toHaveLength(4);
  expect(net.link.state).toEqual({ kind: "live" });
  expect(net.wires.some(({ isClosed }) => isClosed)).toBe(false);
  expect(net.lost).toEqual([]);
});

test("another refusal turns nothing", async () => {
  const net = new FakeNet();
  const first = await net.open();
  net.ask("runs");
  net.ask("new");
  first.say(refusal("new", "queue_full"));
  await net.pass(0);
  expect(net.wires).toHaveLength(1);
});

test("closed, all of them are", async () => {
  const { net, first } = await drained();
  await net.open();
  net.link.close();
  expect([first.isClosed, net.wire.isClosed]).toEqual([true, true]);
  await net.pass(60_000);
  expect(net.wires).toHaveLength(2);
});
