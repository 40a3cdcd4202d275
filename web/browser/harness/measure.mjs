/** Responsiveness of a page: frames, long tasks, script and main-thread time, and when received text was painted. */
import { cdp } from "./chromium.mjs";
import { percentile, round } from "./figures.mjs";

/** Runs in the page first. */
function collect() {
  const long = [];
  const shifts = [];
  const events = [];
  const watch = (type, take, more) => {
    try {
      new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({
        type,
        buffered: true,
        ...more,
      });
    } catch {
      // Not supported by this Chromium.
    }
  };
  watch("longtask", (entry) => long.push({ at: entry.startTime, ms: entry.duration }));
  watch("layout-shift", (entry) =>
    shifts.push({ at: entry.startTime, value: entry.value, mine: entry.hadRecentInput }),
  );
  watch("event", (entry) => events.push({ at: entry.startTime, name: entry.name, ms: entry.duration }), {
    durationThreshold: 16,
  });
  let frames = [];
  let on = false;
  let last = 0;
  const frame = (now) => {
    if (!on) return;
    if (last > 0) frames.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  globalThis.measured = {
    begin() {
      long.length = 0;
      shifts.length = 0;
      events.length = 0;
      frames = [];
      last = 0;
      on = true;
      requestAnimationFrame(frame);
    },
    end() {
      on = false;
      return { long: [...long], shifts: [...shifts], events: [...events], frames };
    },
  };
}

/** When each numbered delta was received and when it was painted. Only for short answers: it reads them whole. */
function stampDeltas() {
  const came = new Map();
  const painted = new Map();
  const Native = WebSocket;
  globalThis.WebSocket = class extends Native {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", ({ data }) => {
        if (typeof data !== "string" || !data.includes("text-delta")) return;
        const now = performance.timeOrigin + performance.now();
        for (const [, k] of data.matchAll(/#(\d+) /g)) if (!came.has(Number(k))) came.set(Number(k), now);
      });
    }
  };
  let upTo = -1;
  const channel = new MessageChannel();
  channel.port1.onmessage = () => {
    const parts = document.querySelectorAll('article[data-role="assistant"] [data-part="text"]');
    const text = parts[parts.length - 1]?.textContent ?? "";
    const now = performance.timeOrigin + performance.now();
    const numbers = text.slice(-2000).match(/#(\d+) (?=\S)/g);
    const newest = numbers ? Number(numbers[numbers.length - 1].slice(1)) : -1;
    while (upTo < newest) painted.set(++upTo, now);
  };
  addEventListener("DOMContentLoaded", () => {
    new MutationObserver(() => channel.port2.postMessage(0)).observe(document.body, {
      subtree: true,
      childList: true,
      characterData: true,
    });
  });
  globalThis.stamps = {
    clear: () => {
      came.clear();
      painted.clear();
      upTo = -1;
    },
    came: () => [...came],
    painted: () => [...painted],
  };
}

/** When the first frame of an answer was received, and when its end was painted. */
function timeReplay() {
  const Native = WebSocket;
  globalThis.replay = {};
  globalThis.WebSocket = class extends Native {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", ({ data }) => {
        if (typeof data === "string" && data.startsWith('{"type":"start"'))
          globalThis.replay.came ??= performance.now();
      });
    }
  };
  const look = () => {
    const { answers, came, painted } = globalThis.replay;
    if (came && !painted && document.querySelectorAll('article[data-outcome="done"]').length >= answers) {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => {
        globalThis.replay.painted ??= performance.now();
      };
      channel.port2.postMessage(0);
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}

export const timingReplay = (context) => context.addInitScript(timeReplay);
export const collecting = (context) => context.addInitScript(collect);
export const stamping = (context) => context.addInitScript(stampDeltas);

/** Starts measuring; `end` returns the result, per delta if their number is given. */
export async function measure(page) {
  const session = await cdp(page);
  // Durations in processor time of the page's thread: a busy machine does not lengthen them.
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  const metrics = async () => {
    const { metrics } = await session.send("Performance.getMetrics");
    return Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
  };
  await page.evaluate(() => globalThis.measured.begin());
  const before = await metrics();
  return {
    session,
    async end(deltas = 1) {
      const after = await metrics();
      const { long, shifts, events, frames } = await page.evaluate(() => globalThis.measured.end());
      const spent = (name) => ((after[name] - before[name]) * 1000) / deltas;
      const over = (ms) =>
        round((100 * frames.filter((frame) => frame > ms).length) / Math.max(1, frames.length), 2);
      return {
        script_ms: round(spent("ScriptDuration"), 3),
        main_ms: round(spent("TaskDuration"), 3),
        long_tasks: long.length,
        longest_ms: round(Math.max(0, ...long.map((task) => task.ms))),
        blocked_ms: round(long.reduce((sum, task) => sum + task.ms - 50, 0)),
        frames: frames.length,
        // A frame that started in time is at most one period and a little late.
        over_20_percent: over(20),
        over_50: frames.filter((frame) => frame > 50).length,
        frame_p99_ms: round(percentile(frames, 0.99)),
        worst_frame_ms: round(Math.max(0, ...frames)),
        shift: round(
          shifts.filter((shift) => !shift.mine).reduce((sum, shift) => sum + shift.value, 0),
          4,
        ),
        keys: events.filter((event) => event.name === "keydown").map((event) => event.ms),
        heap_mb: round(after.JSHeapUsedSize / 1e6, 1),
        nodes: after.Nodes,
      };
    },
  };
}

/** Without fields that are not useful in a line of figures. */
export function brief({ keys, frames, frame_p99_ms, nodes, heap_mb, ...rest }) {
  return rest;
}

export async function heapMb(page) {
  const session = await cdp(page);
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  return round(usedSize / 1e6, 1);
}
