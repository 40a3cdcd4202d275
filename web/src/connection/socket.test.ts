/** The socket comes back by the causes of its losses, and silence is a loss. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FakeNet } from "../testing/fake-wires";
import { FIRST_PAUSE_MS, LONGEST_PAUSE_MS, pause } from "./backoff";
import { OPEN_MS } from "./socket";

const opened = async () => {
  const net = new FakeNet();
  await net.open();
  return net;
};

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("pauses have full jitter between nothing and a bound that doubles to 30 s", () => {
  for (let attempt = 0; attempt < 40; attempt += 1) {
    const bound = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt);
    expect(pause(attempt, "lost", () => 0)).toBe(0);
    expect(pause(attempt, "lost", () => 0.999999)).toBeLessThanOrEqual(bound);
  }
});

test.each([
  [1006, "lost"],
  [1012, "restart"],
  [1013, "overloaded"],
  [4429, "overloaded"],
  [1009, "policy"],
])("after close code %i it comes back: %s", async (code, cause) => {
  const net = await opened();
  net.wire.onclose?.({ code });
  expect(net.states.at(-1)).toMatchObject({ kind: "waiting", cause });
  await net.pass(LONGEST_PAUSE_MS + 2_000);
  expect(net.wires.length).toBeGreaterThan(1);
});

test.each([4401, 4403])("after close code %i it waits for a person", async (code) => {
  const net = await opened();
  net.wire.onclose?.({ code });
  await net.pass(600_000);
  expect(net.wires).toHaveLength(1);
  net.link.retry();
  await net.pass(0);
  expect(net.wires).toHaveLength(2);
});

test("a quiet socket is asked, doubted and given up; a word is life", async () => {
  const net = await opened();
  await net.pass(15_001);
  expect(net.wire.pings()).toBe(1);
  net.wire.say({ type: "pong", requestId: "ping-1" });
  await net.pass(15_001);
  expect(net.wire.pings()).toBe(2);
  await net.pass(3_000);
  expect(net.link.state).toMatchObject({ kind: "live", doubted: Date.now() + 5_000 - 1 });
  net.wire.say({ type: "pong", requestId: "ping-2" });
  expect(net.link.state).toEqual({ kind: "live" });
  await net.pass(15_000 + 8_000);
  expect(net.link.state).toMatchObject({ kind: "waiting", cause: "silent" });
});

test("an answer that is silent is asked after sooner, until it ends", async () => {
  const net = await opened();
  net.ask("r1");
  await net.pass(1_000);
  net.wire.say({ type: "chunk", requestId: "r1", sequence: 0, chunk: { type: "start" } });
  await net.pass(1_999);
  expect(net.wire.pings()).toBe(0);
  await net.pass(3_001);
  expect(net.link.state).toMatchObject({ kind: "live", doubted: expect.any(Number) });
  net.wire.say({ type: "end", requestId: "r1" });
  expect(net.link.state).toEqual({ kind: "live" });
  await net.pass(14_999);
  expect(net.wire.pings()).toBe(1);
  expect(net.lost).toEqual([]);
});

test("open requests of a socket that is given up are reported, once", async () => {
  const net = await opened();
  net.ask("r1");
  net.ask("r2");
  net.wire.say({ type: "end", requestId: "r1" });
  await net.pass(10_000);
  expect(net.lost).toEqual(["r2"]);
  expect(net.wire.isClosed).toBe(true);
  expect(net.link.state).toMatchObject({ kind: "waiting", cause: "silent" });
});

test("in doubt, a person may have a new socket at once", async () => {
  const net = await opened();
  net.ask("r1");
  await net.pass(5_000);
  net.link.retry();
  await net.open();
  expect(net.wires).toHaveLength(2);
  expect(net.link.state).toEqual({ kind: "live" });
});

test("hidden, it asks nothing; shown again, at once", async () => {
  const net = await opened();
  net.ask("r1");
  net.link.setVisible(false);
  await net.pass(600_000);
  expect(net.wire.pings()).toBe(0);
  net.link.setVisible(true);
  net.link.wake();
  expect(net.wire.pings()).toBe(1);
  await net.pass(3_000);
  expect(net.link.state).toMatchObject({ kind: "waiting", cause: "silent" });
});

test("offline: unanswered for a second it is so, answered it is not", async () => {
  const net = await opened();
  net.link.offline();
  await net.pass(500);
  net.wire.say({ type: "pong", requestId: "ping-1" });
  await net.pass(5_000);
  expect(net.states).toEqual([{ kind: "connecting", attempt: 0 }, { kind: "live" }]);
  net.link.offline();
  await net.pass(999);
  expect(net.link.state.kind).toBe("live");
  await net.pass(1);
  expect(net.link.state.kind).toBe("offline");
});

test("a network that is back within the second is no reason to wait for one", async () => {
  const net = await opened();
  net.link.offline();
  net.link.wake();
  await net.pass(1_000);
  expect(net.link.state).toMatchObject({ kind: "waiting", cause: "silent" });
  await net.pass(500);
  expect(net.wires).toHaveLength(2);
});

test("without a network it waits for one, and an old socket's words are dropped", async () => {
  const net = await opened();
  const old = net.wire.onclose;
  net.isOnline = false;
  old?.({ code: 1006 });
  expect(net.link.state.kind).toBe("offline");
  net.isOnline = true;
  net.link.wake();
  await net.open();
  old?.({ code: 1006 });
  expect(net.link.state.kind).toBe("live");
});

test("a browser that is wrong about its network does not keep a near gateway away", async () => {
  const net = await opened();
  net.isOnline = false;
  net.wire.onclose?.({ code: 1006 });
  for (let attempt = 2; attempt < 5; attempt += 1) {
    for (let waited = 0; net.wires.length < attempt; waited += 100) {
      expect(waited).toBeLessThan(40_000);
      await net.pass(100);
    }
    // Attempts that can hardly succeed are not shown.
    expect(net.link.state.kind).toBe("offline");
    if (attempt < 4) net.wire.onclose?.({ code: 1006 });
  }
  net.wire.onopen?.();
  expect(net.link.state.kind).toBe("live");
});

test("an opening without a reply is given up", async () => {
  const net = new FakeNet();
  await net.pass(OPEN_MS);
  expect(net.link.state).toMatchObject({ kind: "waiting", cause: "silent" });
});
