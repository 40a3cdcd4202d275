/** What was on the screen is there again, though the gateway died and the page went in the same moment. */
import assert from "node:assert/strict";
import { chance } from "../harness/chance.mjs";
import {
  answered,
  answers,
  articles,
  assertWhole,
  grown,
  numbered,
  open,
  ready,
  say,
  textOf,
} from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { cdp } from "../harness/chromium.mjs";
import { counting } from "../harness/prompts.mjs";
import { NETWORK, test } from "../harness/registry.mjs";

const LONG = process.env.LONG === "1";
/** What is shown is kept after this long, whatever becomes of the page. */
const KEPT_MS = 1000;
/** The same without room for tails: IndexedDB takes a moment more. */
const STORED_MS = 1500;

/** Notes in every frame how many deltas are shown, and how long the page was without one at most. */
async function sampling(page) {
  await page.addInitScript(() => {
    const samples = [];
    globalThis.samples = samples;
    globalThis.worstGap = 0;
    let last = performance.now();
    const look = (now) => {
      globalThis.worstGap = Math.max(globalThis.worstGap, now - last);
      last = now;
      const all = document.querySelectorAll('article[data-role="assistant"] [data-part="text"]');
      const count = all[all.length - 1]?.textContent?.match(/#\d+ /g)?.length ?? 0;
      if (samples.at(-1)?.count !== count) samples.push({ at: Date.now(), count });
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
}

/** How a page goes; `all`: it has a last word, and nothing at all may be missing. */
const WAYS = {
  left: { all: true, go: (page) => page.goto("about:blank") },
  closed: { all: false, go: (page) => page.close() },
  crashed: {
    all: false,
    go: async (page) => {
      const session = await cdp(page);
      const crashed = page.waitForEvent("crash");
      session.send("Page.crash").catch(() => {});
      await crashed;
      await page.close();
    },
  },
};

const tails = (page) =>
  page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith("tidegate.tail.")).length);

/** One answer, a kill at a random moment, and the page opened anew. Gives how many deltas were shown, and are there. */
async function killed(context, stack, way, random, full) {
  const page = await context.newPage();
  await sampling(page);
  if (full) await page.addInitScript(full);
  await open(page, stack);
  await say(page, counting(5000, 4 + random() * 12));
  await grown(page, 5);
  await page.waitForTimeout(random() * 2500);
  const address = page.url();
  await stack.down("SIGKILL");
  const [samples, late] = await page.evaluate(() => [globalThis.samples, globalThis.worstGap]);
  await WAYS[way].go(page);
  const gone = Date.now();
  // Its timers are as late as its frames are.
  const before = full ? gone - STORED_MS - late : WAYS[way].all ? gone : gone - KEPT_MS - late;
  const shown = Math.max(0, ...samples.filter(({ at }) => at <= before).map(({ count }) => count));
  await stack.up();
  const later = way === "left" ? page : await context.newPage();
  await later.goto(address);
  await ready(later);
  const text = await answered(later, { outcome: "failed" });
  const kept = numbered(text).length;
  assertWhole(text, kept);
  await until("no tail is left", async () => (await tails(later)) === 0);
  await later.close();
  return { way, last: samples.at(-1).count, shown, kept };
}

/** `full`: takes the room for tails away, in the page. */
async function moments(t, count, seed, full) {
  const stack = await t.stack({ nginx: false });
  const context = await t.context(stack);
  const random = chance(seed);
  const ways = Object.keys(WAYS);
  const all = [];
  for (let moment = 0; moment < count; moment++) {
    const one = await killed(context, stack, ways[moment % ways.length], random, full);
    all.push(one);
    assert.ok(
      one.kept >= one.shown,
      `moment ${moment} of seed ${seed}: ${one.kept} of ${one.shown} kept, ${one.way}`,
    );
  }
  const missing = (way) =>
    Math.max(0, ...all.filter((one) => one.way === way).map(({ last, kept }) => last - kept));
  t.figure({
    case: "killed in mid-answer",
    seed,
    moments: count,
    ...Object.fromEntries(ways.map((way) => [`${way}_missing`, missing(way)])),
  });
}

test("what was read is kept when the gateway is killed and the page goes", {
  seconds: 35,
  goal: "G8",
  timeout: LONG ? 500_000 : 110_000,
  allow: NETWORK,
}, async (t) => {
  const seed = LONG ? Date.now() % 1_000_000 : 7;
  await moments(t, LONG ? 50 : 10, seed);
});

// faults: J126
test("what was read is kept when storage is full as the page goes", {
  seconds: 12,
  goal: "J126",
  timeout: 60_000,
  allow: NETWORK,
}, async (t) => {
  await moments(t, 3, 11, () => {
    // Room for all but tails: the conversation itself is stored instead.
    const put = Storage.prototype.setItem;
    Storage.prototype.setItem = function (key, value) {
      if (key.startsWith("tidegate.tail.")) throw new DOMException("full", "QuotaExceededError");
      return put.call(this, key, value);
    };
  });
});

test("tabs keep what each of them showed, for every answer that is written", {
  goal: "G17",
  timeout: 60_000,
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const context = await t.context(stack);
  const first = await context.newPage();
  await open(first, stack);
  const addresses = [];
  for (const pace of [9, 13]) {
    await first.getByRole("button", { name: "New chat" }).first().click();
    await until("an empty thread", async () => (await articles(first).count()) === 0);
    await say(first, counting(4000, pace));
    await grown(first, 100);
    addresses.push(first.url());
  }
  // Both are followed elsewhere too, and those who asked leave.
  const pages = [];
  for (const address of addresses) {
    const page = await context.newPage();
    await page.goto(address);
    await ready(page);
    await grown(page, 100);
    pages.push(page);
  }
  await first.close();
  await pages[1].waitForTimeout(3000);
  await stack.down("SIGKILL");
  const shown = [];
  for (const page of pages) {
    shown.push(numbered(await textOf(answers(page).last())).length);
    await page.goto("about:blank");
  }
  await stack.up();
  for (const [at, page] of pages.entries()) {
    await page.goto(addresses[at]);
    await ready(page);
    const text = await answered(page, { outcome: "failed" });
    assertWhole(text, shown[at]);
  }
  await until("no tail is left", async () => (await tails(pages[0])) === 0);
});
