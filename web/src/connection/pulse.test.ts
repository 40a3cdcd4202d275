/** Silence is noticed in time, and nothing else is taken for it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OFFLINE_MS, Pulse, WAKE_MS } from "./pulse";

/** Goes from one due time to the next; returns the verdicts with their times. */
function play(pulse: Pulse, until: number, from = 0): [number, string][] {
  const verdicts: [number, string][] = [];
  for (let now = from; ; ) {
    const { due } = pulse;
    if (due === undefined || due > until) return verdicts;
    now = Math.max(now, due);
    const verdict = pulse.tick(now);
    verdicts.push([now, verdict]);
    if (verdict === "give-up") return verdicts;
  }
}
const at = (verdicts: [number, string][], verdict: string) =>
  verdicts.find(([, word]) => word === verdict)?.[0];

describe("a gateway that falls silent", () => {
  test("is doubted within 6 s and given up at 10 s while something is under way", () => {
    const pulse = new Pulse(0);
    pulse.busy(true, 0);
    const verdicts = play(pulse, 60_000);
    expect(at(verdicts, "ping")).toBe(2_000);
    expect(at(verdicts, "doubt")).toBe(5_000);
    expect(at(verdicts, "give-up")).toBe(10_000);
  });

  test("is noticed within 25 s otherwise", () => {
    const verdicts = play(new Pulse(0), 60_000);
    expect(at(verdicts, "doubt")).toBeLessThanOrEqual(25_000);
    expect(at(verdicts, "give-up")).toBeLessThanOrEqual(25_000);
  });

  test("is noticed in time also when a question comes late in the quiet", () => {
    for (const asked of [0, 5_000, 14_000, 15_500, 17_900]) {
      const pulse = new Pulse(0);
      play(pulse, asked);
      pulse.busy(true, asked);
      const verdicts = play(pulse, 60_000, asked);
      expect(at(verdicts, "doubt")).toBeLessThanOrEqual(asked + 6_000);
      expect(at(verdicts, "give-up")).toBeLessThanOrEqual(asked + 10_000);
    }
  });
});

test("a model that thinks for long is no silence: each ping is answered", () => {
  const pulse = new Pulse(0);
  pulse.busy(true, 0);
  let now = 0;
  for (let ping = 0; ping < 100; ping += 1) {
    now = pulse.due as number;
    expect(pulse.tick(now)).toBe("ping");
    // 1.5 s there and back: a poor line, and not a word of doubt.
    now += 1_500;
    expect(play(pulse, now)).toEqual([]);
    pulse.received(now);
    expect(pulse.isDoubted).toBe(false);
  }
  // 29 pings a minute at most, where the gateway allows 20 frames a second.
  expect(now).toBeGreaterThanOrEqual(100 * 3_500);
});

test("a word ends the doubt, and the next silence begins anew", () => {
  const pulse = new Pulse(0);
  pulse.busy(true, 0);
  play(pulse, 9_999);
  expect(pulse.isDoubted).toBe(true);
  pulse.received(9_999);
  expect(pulse.isDoubted).toBe(false);
  expect(at(play(pulse, 60_000), "give-up")).toBe(19_999);
});

test("a hidden page asks nothing, and judges nothing", () => {
  const pulse = new Pulse(0);
  pulse.busy(true, 0);
  play(pulse, 6_000);
  pulse.setVisible(false);
  expect(pulse.due).toBeUndefined();
  expect(pulse.tick(600_000)).toBe("nothing");
  pulse.setVisible(true);
  pulse.probe(WAKE_MS, 600_000);
  expect(play(pulse, 700_000, 600_000)).toEqual([[600_000 + WAKE_MS, "give-up"]]);
});

test("a page that stood still itself asks once more before it judges", () => {
  const pulse = new Pulse(0);
  pulse.busy(true, 0);
  expect(pulse.tick(2_000)).toBe("ping");
  // A debugger, a sleep, a busy main thread: the answer may lie there unread.
  expect(pulse.tick(90_000)).toBe("ping");
  expect(pulse.tick(90_500)).toBe("nothing");
  pulse.received(91_000);
  expect(pulse.isDoubted).toBe(false);
});

test("a long message on a slow line is given the time to go up", () => {
  const pulse = new Pulse(0);
  pulse.sent(1_048_576, 0);
  pulse.busy(true, 0);
  const verdicts = play(pulse, 120_000);
  expect(at(verdicts, "doubt")).toBeGreaterThan(32_000);
  expect(at(verdicts, "give-up")).toBeLessThan(60_000);
});

test("offline has 1 s of patience, and no more by asking again", () => {
  const pulse = new Pulse(0);
  pulse.probe(OFFLINE_MS, 0);
  pulse.probe(WAKE_MS, 900);
  expect(play(pulse, 60_000)).toEqual([[1_000, "give-up"]]);
});

test("whatever happens, a visible page that hears nothing gives up in time", () => {
  const step = fc.record({
    wait: fc.integer({ min: 1, max: 20_000 }),
    what: fc.constantFrom("frame", "busy", "idle", "ask", "hide", "show"),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const pulse = new Pulse(0);
      let now = 0;
      for (const { wait, what } of steps) {
        const verdicts = play(pulse, now + wait, now);
        if (at(verdicts, "give-up") !== undefined) return;
        now += wait;
        if (what === "frame") pulse.received(now);
        else if (what === "ask") pulse.probe(WAKE_MS, now);
        else if (what === "busy" || what === "idle") pulse.busy(what === "busy", now);
        else pulse.setVisible(what === "show");
      }
      pulse.setVisible(true);
      expect(at(play(pulse, now + 60_000, now), "give-up")).toBeLessThanOrEqual(now + 25_000);
    }),
  );
});
