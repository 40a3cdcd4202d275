/** The socket comes back by the causes of its losses, and silence is a loss. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FIRST_PAUSE_MS, LONGEST_PAUSE_MS, pause } from "./backoff";
import type { LinkState } from "./link";
import { createLink, PING_MS, type Wire } from "./socket";

let wires: Wire[] = [];
let states: LinkState[] = [];
let sent: string[] = [];
let isOnline = true;

const make = () =>
  createLink(
    {
      open: () => {
        const wire: Wire = {
          onopen: null,
          onmessage: null,
          onclose: null,
          onerror: null,
          send: (data) => void sent.push(data),
          close: () => undefined,
        };
        wires.push(wire);
        return wire;
      },
      prepare: () => Promise.resolve(),
      random: () => 0.5,
      now: () => Date.now(),
      isOnline: () => isOnline,
    },
    { state: (state) => void states.push(state), frame: () => undefined },
  );
const opened = async () => {
  const link = make();
  await vi.advanceTimersByTimeAsync(0);
  wires.at(-1)?.onopen?.();
  return link;
};

beforeEach(() => {
  vi.useFakeTimers();
  wires = [];
  states = [];
  sent = [];
  isOnline = true;
});
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
  await opened();
  wires[0]?.onclose?.({ code });
  expect(states.at(-1)).toMatchObject({ kind: "waiting", cause });
  await vi.advanceTimersByTimeAsync(LONGEST_PAUSE_MS + 2_000);
  expect(wires.length).toBeGreaterThan(1);
});

test.each([4401, 4403])("after close code %i it waits for a person", async (code) => {
  const link = await opened();
  wires[0]?.onclose?.({ code });
  await vi.advanceTimersByTimeAsync(600_000);
  expect(wires).toHaveLength(1);
  link.retry();
  await vi.advanceTimersByTimeAsync(0);
  expect(wires).toHaveLength(2);
});

test("two pings without a word are a loss; a word is life", async () => {
  const link = await opened();
  await vi.advanceTimersByTimeAsync(PING_MS + 1);
  expect(sent[0]).toContain('"ping"');
  wires[0]?.onmessage?.({ data: '{"type":"pong","requestId":"ping-1"}' });
  await vi.advanceTimersByTimeAsync(PING_MS);
  expect(link.state.kind).toBe("live");
  await vi.advanceTimersByTimeAsync(PING_MS * 2);
  expect(states.some((state) => state.kind === "waiting" && state.cause === "silent")).toBe(true);
});

test("without a network it waits for one, and an old socket's words are dropped", async () => {
  const link = await opened();
  const old = wires[0]?.onclose;
  isOnline = false;
  old?.({ code: 1006 });
  expect(link.state.kind).toBe("offline");
  isOnline = true;
  link.retry();
  await vi.advanceTimersByTimeAsync(0);
  wires[1]?.onopen?.();
  old?.({ code: 1006 });
  expect(link.state.kind).toBe("live");
});
