/** An answer that did not end well says why, and offers the one thing that can help. */
import assert from "node:assert/strict";
import { answered, answers, asked, assertWhole, composer, grown, open, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { counting, simText } from "../harness/prompts.mjs";
import { NETWORK, test } from "../harness/registry.mjs";

/** What the last answer offers, copying left out. */
const offers = async (page) =>
  (
    await answers(page)
      .last()
      .getByRole("button")
      .evaluateAll((all) => all.map((button) => button.getAttribute("aria-label") ?? button.textContent))
  ).filter((name) => !name.startsWith("Copy"));

const FAULTS = [
  { say: "/sim status=429 code=Throttling.RateQuota", offers: ["Try again"], says: /busy/ },
  { say: "/sim status=400 code=DataInspectionFailed", offers: ["Edit the message"], says: /content filter/ },
  { say: "/sim status=401 code=InvalidApiKey", offers: [], says: /operator/ },
];

test("an answer that failed offers the one thing that helps", {
  goal: "J124",
  timeout: 90_000,
}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack, { permissions: ["clipboard-read", "clipboard-write"] });
  await open(page, stack);
  for (const [at, fault] of FAULTS.entries()) {
    await say(page, fault.say);
    await answered(page, { outcome: "failed", count: at + 1 });
    const last = answers(page).last();
    assert.match(await last.textContent(), fault.says);
    assert.deepEqual(await offers(page), fault.offers, fault.say);
    await last.getByText("Details").click();
    await page.evaluate(() => navigator.clipboard.writeText(""));
    await last.getByRole("button", { name: "Copy details" }).click();
    const copied = await until("details", () => page.evaluate(() => navigator.clipboard.readText()));
    assert.match(copied, /^code: \w+\n(.*\n)*asked: 20/);
    assert.equal(
      copied.split("\n")[0],
      `code: ${await last.locator("[data-code]").getAttribute("data-code")}`,
    );
  }
  // The refused message is changed in its place, and answered.
  await say(page, "/sim status=400 code=DataInspectionFailed");
  await answered(page, { outcome: "failed", count: FAULTS.length + 1 });
  await answers(page).last().getByRole("button", { name: "Edit the message" }).click();
  const field = asked(page).last().getByRole("textbox");
  await until("the message in a field", async () => /DataInspectionFailed/.test(await field.inputValue()));
  await field.fill("hello");
  await field.press("Enter");
  await answered(page, { count: 1 });
  assert.match(await asked(page).last().textContent(), /hello/);
});

test("an answer that broke off is tried again by one button, and then is whole", {
  goal: "J125",
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack);
  await open(page, stack);
  await say(page, counting(400, 8));
  await grown(page, 200);
  await stack.down("SIGKILL");
  await stack.up();
  await answered(page, { outcome: "failed" });
  assert.deepEqual(await offers(page), ["Try again"]);
  await answers(page).last().getByRole("button", { name: "Try again" }).click();
  assertWhole(await answered(page, { count: 1 }), 400);
});

const SENTENCE =
  "The tide rises twice a day, and falls as often: the moon pulls at the sea, and the earth turns.";

for (const [where, options, words] of [
  ["on a desktop", { viewport: { width: 1280, height: 800 } }, { goOn: "Continue", again: "Regenerate" }],
  [
    "on a phone, in Chinese, in the dark",
    { viewport: { width: 320, height: 560 }, locale: "zh-CN", colorScheme: "dark" },
    { goOn: "继续", again: "重新生成" },
  ],
])
  test(`an answer that was stopped goes on where it was, ${where}`, {}, async (t) => {
    const stack = await t.stack({ nginx: false });
    const page = await t.page(stack, options);
    await open(page, stack);
    await say(page, simText(SENTENCE, "pace_ms=60"));
    await grown(page, 20);
    await composer(page).press("Escape");
    const begun = await answered(page, { outcome: "stopped" });
    assert.ok(SENTENCE.startsWith(begun) && begun !== SENTENCE, begun);
    const names = await answers(page)
      .last()
      .getByRole("button")
      .evaluateAll((all) => all.map((button) => button.getAttribute("aria-label") ?? button.textContent));
    assert.ok(names.includes(words.goOn) && names.includes(words.again), names.join());
    if (process.env.SHOTS)
      await page.screenshot({ path: `${process.env.SHOTS}/continue-${options.viewport.width}.png` });
    await answers(page).last().getByRole("button", { name: words.goOn }).click();
    assert.equal(await answered(page, { count: 1 }), SENTENCE);
    // It has ended well: stored as one answer, and not continued again.
    await page.reload();
    assert.equal(await answered(page, { count: 1 }), SENTENCE);
    assert.equal(await answers(page).last().getByRole("button", { name: words.goOn }).count(), 0);
  });

test("an answer that was stopped or broke off shows what it took", { goal: "J124" }, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack);
  await open(page, stack);
  const usage = () => answers(page).last().locator('[data-part="usage"]');
  await say(page, counting(4000, 10));
  await grown(page, 200);
  await composer(page).press("Escape");
  await answered(page, { outcome: "stopped" });
  await usage()
    .filter({ hasText: /\d tokens\/s.*\d tokens/ })
    .waitFor();
  await say(page, `${counting(400, 2)} end_after=60`);
  await answered(page, { outcome: "failed" });
  await usage()
    .filter({ hasText: /first word.*\d tokens\/s.*\d tokens/ })
    .waitFor();
  // The service named its request, and both are in the details, also when the page is opened anew.
  for (const _ of ["now", "stored"]) {
    const last = answers(page).last();
    await last.getByText("Details").click();
    assert.match(
      await last.locator("dl").textContent(),
      /Run[0-9a-f]{32}-\d+.*Request at the model service\w+/,
    );
    await page.reload();
    await usage()
      .filter({ hasText: /\d tokens/ })
      .waitFor();
  }
});

test("no number of the usage line stands apart from its unit", { goal: "G12" }, async (t) => {
  const stack = await t.stack({ nginx: false });
  for (const width of [320, 390, 1280]) {
    const page = await t.page(stack, { viewport: { width, height: 800 } });
    await open(page, stack);
    await composer(page).waitFor();
    await say(page, simText("A tide is the sea, rising and falling.", "first_ms=1200 pace_ms=5"));
    await answered(page);
    const lines = await page
      .locator('[data-part="usage"] span')
      .evaluateAll((parts) => parts.map((part) => part.getClientRects().length));
    assert.ok(lines.length >= 2, `${lines.length} figures`);
    assert.ok(
      lines.every((count) => count === 1),
      `${width}: ${lines}`,
    );
    await page.close();
  }
});
