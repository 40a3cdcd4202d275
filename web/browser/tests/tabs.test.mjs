/** Several tabs on one conversation: G17; fault 127. */
import assert from "node:assert/strict";
import { answered, answers, assertWhole, composer, grown, open, say, textOf } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { percentile, round } from "../harness/figures.mjs";
import { stamping } from "../harness/measure.mjs";
import { counting } from "../harness/prompts.mjs";
import { NETWORK, test } from "../harness/registry.mjs";

async function follow(context, stack, first) {
  const page = await context.newPage();
  await page.goto(first.url().startsWith(stack.url) ? first.url() : stack.url);
  await page.waitForSelector("html[data-ready]");
  return page;
}

/** Opens the newest conversation, where the address does not say which. */
async function newest(page) {
  if ((await page.locator("article[data-message]").count()) > 0) return;
  const list = page.getByRole("navigation", { name: "Conversations" });
  await until("the conversation", async () => {
    if ((await page.locator("article[data-message]").count()) > 0) return true;
    await list
      .locator("li")
      .first()
      .getByRole("link")
      .or(list.locator("li").first().getByRole("button"))
      .first()
      .click();
    return (await page.locator("article[data-message]").count()) > 0;
  });
}

// faults: J127
test("three tabs see one answer", { goal: "G17", timeout: 60_000 }, async (t) => {
  const stack = await t.stack();
  const context = await t.context(stack);
  await stamping(context);
  const first = await context.newPage();
  await open(first, stack);
  await say(first, "hello");
  await answered(first);
  const others = [await follow(context, stack, first), await follow(context, stack, first)];
  for (const other of others) await newest(other);
  const tabs = [first, ...others];
  for (const tab of tabs) await tab.evaluate(() => globalThis.stamps.clear());
  await say(first, counting(400, 10));
  for (const tab of tabs) assertWhole(await answered(tab, { count: 2 }), 400);
  const painted = await Promise.all(
    tabs.map(async (tab) => new Map(await tab.evaluate(() => globalThis.stamps.painted()))),
  );
  const spreads = [];
  for (let k = 20; k < 400; k++) {
    const times = painted.map((map) => map.get(k));
    if (times.every(Boolean)) spreads.push(Math.max(...times) - Math.min(...times));
  }
  assert.ok(spreads.length > 300, `${spreads.length} deltas were seen in all tabs`);
  t.figure(
    {
      case: "three tabs",
      p50_ms: round(percentile(spreads, 0.5)),
      p99_ms: round(percentile(spreads, 0.99)),
      worst_ms: round(Math.max(...spreads)),
    },
    { p99_ms: 200 }, // The goal is 100; it runs beside other tests.
  );
  // What is done in one is seen in the others.
  await say(others[1], "and from the third tab");
  await answered(first, { count: 3 });
  await first.getByRole("button", { name: "Regenerate" }).last().click();
  await until("the other version in the other tab", async () =>
    /2\/2/.test((await answers(others[0]).last().textContent()) ?? ""),
  );
});

// faults: J127
test("more tabs than may follow: the oldest says so and can take over", {
  goal: "G17",
  timeout: 60_000,
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack({ set: { "session.subscribers_max": "2" } });
  const context = await t.context(stack);
  const first = await context.newPage();
  await open(first, stack);
  await say(first, "hello");
  await answered(first);
  await say(first, counting(600, 10));
  await grown(first, 100);
  // It is still being written when all tabs are there, however long that takes.
  const [{ model }] = stack.gateways;
  model.pause();
  const tabs = [first];
  for (let k = 0; k < 2; k++) {
    const tab = await follow(context, stack, first);
    await newest(tab);
    await grown(tab, 100);
    tabs.push(tab);
  }
  const behind = await until("one tab stops following", async () => {
    for (const tab of tabs) {
      const button = answers(tab)
        .last()
        .getByRole("button", { name: /here|Continue|Follow/i });
      if (await button.count()) return { tab, button };
    }
    return null;
  });
  const before = (await textOf(answers(behind.tab).last())).length;
  model.resume();
  await behind.button.first().click();
  await grown(behind.tab, before + 200);
  const texts = await Promise.all([answered(behind.tab, { count: 2 })]);
  for (const text of texts) assertWhole(text, 600);
  assert.equal(await composer(behind.tab).isEnabled(), true);
});
