/** Runs one test: provides stacks, pages and a place for its figures, and cleans up afterwards. */
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { newContext } from "./chromium.mjs";
import { exceeded, watchLateness } from "./lateness.mjs";
import { startStack } from "./stack.mjs";

const FAILED = fileURLToPath(new URL("../failed/", import.meta.url));

export async function runTest(test, browser, { goals, direct }) {
  const began = Date.now();
  const result = { name: test.name, figures: [], error: null, ms: 0 };
  const watched = [];
  const cleanups = [];
  const lateness = goals ? null : await watchLateness(browser);
  const t = {
    goals,
    browser,
    /** Ended with the test, one after another. */
    after: (cleanup) => cleanups.push(cleanup),
    async stack(options) {
      const stack = await startStack({ ...(direct ? { nginx: false } : {}), ...options });
      cleanups.push(() => stack.stop());
      return stack;
    },
    async context(stack, options = {}, other = browser) {
      const guarded = await newContext(other, {
        url: stack.url,
        allow: [...(test.allow ?? [])],
        ...options,
      });
      watched.push(guarded);
      cleanups.push(() => guarded.context.close());
      return guarded.context;
    },
    async page(stack, options) {
      const context = await t.context(stack, options);
      return await context.newPage();
    },
    /**
     * `bounds`: maximum of the numbers of the same names; larger numbers fail the test. Without --goals the machine's
     * own lateness is allowed on top: lateness.mjs.
     */
    figure(values, bounds = {}) {
      result.figures.push({ goal: test.goal, ...values, bounds });
    },
  };
  let timer;
  const overdue = new Promise((_, reject) => {
    // It ends what hangs, and judges nothing: a busy machine may need twice the time.
    const most = test.timeout * (goals ? 5 : 2);
    timer = setTimeout(() => reject(new Error(`not done after ${most} ms`)), most);
  });
  try {
    await Promise.race([test.run(t), overdue]);
    for (const guarded of watched) guarded.check();
    const late = await lateness?.worst();
    const over = result.figures.map((figure) => exceeded(figure, figure.bounds, late)).filter(Boolean);
    if (over.length > 0) {
      const beside = late === undefined ? "" : ` (the machine was late by up to ${Math.round(late)} ms)`;
      throw new Error(over.join("; ") + beside);
    }
  } catch (error) {
    result.error = error;
    await photograph(test, watched);
  }
  clearTimeout(timer);
  for (const cleanup of cleanups.reverse()) await cleanup().catch?.(() => {});
  result.ms = Date.now() - began;
  return result;
}

/** Screenshots of the pages at the failure. */
async function photograph(test, watched) {
  await mkdir(FAILED, { recursive: true });
  let number = 0;
  for (const { context, wrong } of watched) {
    for (const page of context.pages()) {
      const path = `${FAILED}${test.name.replace(/\W+/g, "-")}-${number++}.png`;
      await page.screenshot({ path, timeout: 3000 }).catch(() => {});
    }
    for (const line of wrong.slice(0, 5)) console.log(`     note: ${line}`);
  }
}
