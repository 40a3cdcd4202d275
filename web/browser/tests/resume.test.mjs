/** An answer survives its sockets: G8, G9; faults 124 and 125 of the catalogue. */
import assert from "node:assert/strict";
import { chance } from "../harness/chance.mjs";
import {
  answered,
  answers,
  assertWhole,
  composer,
  grown,
  open,
  ready,
  say,
  textOf,
} from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { percentile, round } from "../harness/figures.mjs";
import { collecting, measure, timingReplay } from "../harness/measure.mjs";
import { counting } from "../harness/prompts.mjs";
import { NETWORK, test } from "../harness/registry.mjs";
import { listen, remembered, wireText } from "../harness/wire.mjs";

/** The ways in which a page loses its socket; each gives the time from which it could have come back. */
const WAYS = {
  reset: async ({ stack }) => {
    stack.proxy.cut({ reset: true });
    return Date.now();
  },
  fin: async ({ stack }) => {
    stack.proxy.cut({ reset: false });
    return Date.now();
  },
  reload: async ({ page }) => {
    await page.reload({ waitUntil: "commit" });
    const back = Date.now();
    await ready(page);
    return back;
  },
  offline: async ({ page, stack, random }) => {
    await page.context().setOffline(true);
    stack.proxy.refuse(true);
    await page.waitForTimeout(50 + random() * 300);
    stack.proxy.refuse(false);
    await page.context().setOffline(false);
    return Date.now();
  },
  asleep: async ({ page, stack, random }) => {
    const session = await page.context().newCDPSession(page);
    await session.send("Page.setWebLifecycleState", { state: "frozen" });
    stack.proxy.cut();
    await new Promise((resolve) => setTimeout(resolve, 50 + random() * 300));
    await session.send("Page.setWebLifecycleState", { state: "active" });
    return Date.now();
  },
  hidden: async ({ page, stack }) => {
    await setHidden(page, true);
    stack.proxy.cut();
    await page.waitForTimeout(100);
    await setHidden(page, false);
    return Date.now();
  },
};

/** What a page sees when another tab comes before it. */
export const setHidden = (page, hidden) =>
  page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    Object.defineProperty(document, "visibilityState", {
      configurable: true,
      get: () => (hidden ? "hidden" : "visible"),
    });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);

/** One answer, cut `cuts` times at random places. Gives the milliseconds after which text came again. */
async function cutAnswer(t, stack, cuts, seed) {
  const random = chance(seed);
  const page = await t.page(stack);
  const wire = listen(page);
  await open(page, stack);
  const deltas = 150 + cuts * 220;
  // So long that it is still being written at the last cut, on a busy machine too.
  await say(page, counting(deltas, 8));
  await grown(page, 20);
  const waits = [];
  const ways = Object.keys(WAYS);
  for (let cut = 0; cut < cuts; cut++) {
    await page.waitForTimeout(random() * 350);
    const way = ways[Math.floor(random() * ways.length)];
    const before = wire.got.length;
    const back = await WAYS[way]({ page, stack, random });
    const fresh = await until(
      `text after ${way} (cut ${cut} of answer ${seed})`,
      () =>
        wire.got
          .slice(before)
          .find(
            (frame) => frame.at >= back && frame.type === "chunk" && /delta|finish/.test(frame.chunk?.type),
          ) ?? null,
      15_000,
    );
    waits.push({ way, ms: fresh.at - back });
  }
  const shown = await answered(page, { timeout: 60_000 });
  assertWhole(shown, deltas);
  const messages = await remembered(page, stack, wire.chat());
  assert.equal(shown.trim(), wireText(messages.at(-1)).trim(), "what is shown is what the gateway has");
  assert.equal(messages.length, 2, "nothing was asked twice");
  // What was stored is the same: it is shown so when the page is opened anew.
  await page.reload();
  await ready(page);
  await until(
    "the stored text",
    async () => (await answers(page).count()) > 0 && (await textOf(answers(page).last())) === shown,
  );
  return waits;
}

test("answers cut at random places come whole", {
  seconds: 18,
  goal: "G8",
  timeout: 110_000,
  allow: NETWORK,
}, async (t) => {
  const waits = (
    await Promise.all([1, 2, 3].map(async (seed) => cutAnswer(t, await t.stack(), 8, seed)))
  ).flat();
  report(t, waits, 3000);
});

test("100 random cuts", {
  goal: "G8",
  alone: true,
  strict: true,
  timeout: 180_000,
  allow: NETWORK,
}, async (t) => {
  const waits = [];
  for (let seed = 10; seed < 20; seed++) waits.push(...(await cutAnswer(t, await t.stack(), 10, seed)));
  report(t, waits, 1000);
});

function report(t, waits, most) {
  const all = waits.map((wait) => wait.ms);
  const byWay = Object.fromEntries(
    Object.keys(WAYS).flatMap((way) => {
      const own = waits.filter((wait) => wait.way === way).map((wait) => wait.ms);
      return own.length ? [[`${way}_worst_ms`, Math.max(...own)]] : [];
    }),
  );
  const figures = {
    cuts: all.length,
    resumed_p50_ms: percentile(all, 0.5),
    resumed_worst_ms: Math.max(...all),
    ...byWay,
  };
  t.figure(figures, { resumed_worst_ms: most });
}

// faults: J125
test("the gateway is killed in mid-answer and comes back", { goal: "G8", allow: NETWORK }, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  const wire = listen(page);
  await open(page, stack);
  await say(page, counting(600, 10));
  await grown(page, 200);
  await composer(page).fill("a draft");
  await stack.down("SIGKILL");
  await stack.up();
  // It cannot be recovered: the text so far stays, and the page says so.
  const shown = await answered(page, { outcome: "failed" });
  const before = shown.match(/#(\d+) /g).length;
  assertWhole(shown, before);
  assert.equal(await composer(page).inputValue(), "a draft");
  await page
    .getByRole("button", { name: /Regenerate|Try again/ })
    .last()
    .click();
  assertWhole(await answered(page, { count: 1 }), 600);
  assert.equal(
    wire.sends().filter((frame) => frame.trigger === "submit-message" && !frame.messageId).length <= 2,
    true,
  );
});

test("the gateway restarts in good order between two questions", {
  goal: "G8",
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  await open(page, stack);
  await say(page, "my name is Ada");
  await answered(page);
  await stack.down("SIGTERM");
  // Asked while no gateway is there: it waits, and is answered later, with the conversation so far.
  await say(page, "what is my name?");
  await stack.up();
  assert.match(await answered(page, { count: 2 }), /Ada/);
});

test("5,000 missed deltas come back at once", {
  goal: "G9",
  alone: true,
  timeout: 90_000,
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const context = await t.context(stack);
  await collecting(context);
  await timingReplay(context);
  const page = await context.newPage();
  const wire = listen(page);
  await open(page, stack);
  await say(page, counting(20, 5));
  await answered(page);
  await say(page, counting(5100, 1));
  await grown(page, 30);
  stack.proxy.refuse(true);
  await until("the answer is written", async () => {
    const messages = await remembered(page, stack, wire.chat());
    return messages?.at(-1).parts.every((part) => part.state === "done");
  });
  await page.evaluate(() => {
    globalThis.replay = { answers: 2 };
  });
  const meter = await measure(page);
  stack.proxy.refuse(false);
  const shown = await answered(page, { count: 2 });
  const found = await meter.end(1);
  const ms = await page.evaluate(() => globalThis.replay.painted - globalThis.replay.came);
  assertWhole(shown, 5100);
  t.figure(
    { case: "replay", replay_ms: round(ms), longest_ms: found.longest_ms, main_ms: round(found.main_ms) },
    t.goals ? { replay_ms: 200, longest_ms: 60 } : { replay_ms: 1500, longest_ms: 400 },
  );
});
