/**
 * How late the machine is. A machine that others use stands still at times, so a figure of time that is no goal is
 * judged beside a control: a page of its own, and this process, that want to wake at a fixed pace.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";

/** How much longer than its bound a time may be, per worst lateness of the control: it crosses several processes. */
const CROSSINGS = 10;

/** What is measured as processor time, so that a busy machine does not change it. */
const PROCESSOR = new Set(["script_ms", "main_ms"]);

const controls = new WeakMap();

/** Runs in the control page: the worst lateness since it was last asked, of each who asks. */
function wakeOften() {
  const PACE = 20;
  const late = [];
  let due = performance.now() + PACE;
  const wake = () => {
    const now = performance.now();
    late.push({ at: now, ms: Math.max(0, now - due) });
    if (late.length > 30_000) late.splice(0, 10_000);
    due = now + PACE;
    setTimeout(wake, PACE);
  };
  setTimeout(wake, PACE);
  globalThis.worstSince = (since) =>
    Math.max(0, performance.now() - due, ...late.filter(({ at }) => at >= since).map(({ ms }) => ms));
}

/** One page for each browser. */
async function control(browser) {
  if (!controls.has(browser)) {
    const opened = browser.newContext().then(async (context) => {
      const page = await context.newPage();
      await page.evaluate(wakeOften);
      return page;
    });
    controls.set(browser, opened);
  }
  return await controls.get(browser);
}

/** Begins to measure; `worst` gives the worst lateness so far, in milliseconds. */
export async function watchLateness(browser) {
  const page = await control(browser);
  const since = await page.evaluate(() => performance.now());
  const here = monitorEventLoopDelay({ resolution: 20 });
  here.enable();
  return {
    async worst() {
      here.disable();
      const there = await page.evaluate((since) => globalThis.worstSince(since), since).catch(() => 0);
      return Math.max(there, here.max / 1e6 - 20, 0);
    },
  };
}

/**
 * What exceeds its bound, as a sentence; empty where all holds. With `late`, the worst lateness of the control, times
 * have that much more, and what is a share of frames is not judged.
 */
export function exceeded(values, bounds, late) {
  const shared = late !== undefined;
  const over = Object.entries(bounds).flatMap(([key, most]) => {
    if (shared && key.endsWith("_percent")) return [];
    const isTime = key.endsWith("_ms") && !PROCESSOR.has(key);
    const bound = shared && isTime ? most + CROSSINGS * late : most;
    return values[key] <= bound
      ? []
      : [`${key} is ${values[key]}, at most ${Math.round(bound * 100) / 100} wanted`];
  });
  return over.join("; ");
}
