/** Two hundred others at the same time, through nginx: what one browser feels stays as it was: G22. */
import assert from "node:assert/strict";
import { answered, assertWhole, grown, open, say } from "../harness/chat.mjs";
import { start } from "../harness/children.mjs";
import { launch } from "../harness/chromium.mjs";
import { brief, collecting, measure } from "../harness/measure.mjs";
import { counting, rich } from "../harness/prompts.mjs";
import { NETWORK, test } from "../harness/registry.mjs";
import { BINARY } from "../harness/stack.mjs";

test("200 others and four browsers through nginx", {
  goal: "G22",
  alone: true,
  strict: true,
  timeout: 120_000,
  allow: NETWORK,
}, async (t) => {
  // The shipped limits are for one address; here all come from one.
  const stack = await t.stack({ nginx: true });
  const users = await start(BINARY, [
    "load",
    `ws://127.0.0.1:${stack.direct}/chat`,
    ...["--sockets", "200", "--duration", "60s", "--think", "1s..3s", "--json", "-"],
    ...["--prompt", "/sim tokens=200 pace_ms=30 seed={socket}{turn}"],
  ]);
  t.after(() => users.stop());
  const pages = [];
  for (let k = 0; k < 4; k++) {
    const browser = k === 0 ? t.browser : await launch();
    if (k > 0) t.after(() => browser.close());
    const context = await t.context(stack, {}, browser);
    await collecting(context);
    pages.push(await open(await context.newPage(), stack));
  }
  for (const page of pages) {
    await say(page, rich(200, 2));
    await answered(page);
  }
  const others = pages.slice(1).map(async (page) => {
    await say(page, counting(1500, 10));
    await grown(page, 500);
    await page.reload();
    assertWhole(await answered(page, { count: 2, timeout: 60_000 }), 1500);
  });
  const deltas = 3000;
  await say(pages[0], rich(deltas, 5));
  const meter = await measure(pages[0]);
  await grown(pages[0], 2500);
  await answered(pages[0], { count: 2, timeout: 60_000 });
  const found = await meter.end(deltas);
  await Promise.all(others);
  assert.equal(users.ended(), false, "the others were there all the time");
  // Two cores draw four pages without a graphics card, serve two hundred users and play the model: frames are late,
  // and the page's own share stays small.
  t.figure({ case: "crowd", deltas, ...brief(found) }, { script_ms: 0.8, main_ms: 4.5, over_20_percent: 25 });
});
