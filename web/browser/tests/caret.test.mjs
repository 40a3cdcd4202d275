/** While an answer is written, one sees where; when nothing comes, the page says so. */
import assert from "node:assert/strict";
import { answered, answers, grown, open, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { simText } from "../harness/prompts.mjs";
import { test } from "../harness/registry.mjs";

/** How an answer may stop in the middle. */
const TEXTS = {
  paragraph: "A paragraph of **words",
  list: "Before.\n\n1. One\n2. Two\n   - nested",
  "loose list": "1. one\n\n   two\n\n2. three",
  tasks: "- [x] done\n- [ ] open",
  quotation: "> One\n> two",
  heading: "## A head",
  table: "| a | b |\n| --- | --- |\n| 1 | 2 |",
  code: "```rust\nfn main() {\n    let x",
};

/** The elements of the newest answer behind which a caret is drawn. */
const carets = (page) =>
  answers(page)
    .last()
    .locator('[data-part="text"]')
    .evaluateAll(([part]) =>
      [part, ...part.querySelectorAll("*")]
        .filter((one) => getComputedStyle(one, "::after").animationName.includes("caret"))
        .map((one) => one.textContent.trim()),
    );

test("one caret stands behind the last word while it is written", { goal: "caret" }, async (t) => {
  const stack = await t.stack({ nginx: false, pace: 1 });
  const page = await t.page(stack);
  for (const [name, text] of Object.entries(TEXTS)) {
    await open(page, stack);
    await say(page, simText(text, "stall_after"));
    const end = text.match(/[\w]+(?=\W*$)/)[0];
    await until(`the caret of ${name}`, async () => {
      const found = await carets(page);
      return found.length === 1 && found[0].endsWith(end);
    });
    await page.keyboard.press("Escape");
    await answered(page, { outcome: "stopped" });
    assert.deepEqual(await carets(page), [], `${name}: none when it has ended`);
  }
});

const height = (locator) => locator.evaluate((element) => element.getBoundingClientRect().height);

test("the caret takes no room", { goal: "caret" }, async (t) => {
  const stack = await t.stack({ nginx: false, pace: 1 });
  const page = await t.page(stack, { viewport: { width: 700, height: 700 } });
  // Of all lengths, so that some end where the line does.
  const lines = Array.from({ length: 30 }, (_, k) => `${"word ".repeat(12)}${"i".repeat(k + 1)}`);
  for (const first of [0, 10, 20]) {
    await open(page, stack);
    const text = lines.slice(first, first + 10).join("\n\n");
    await say(page, simText(text, "stall_after"));
    await until("the caret at the end", async () => (await carets(page))[0] === lines[first + 9]);
    const part = answers(page).last().locator('[data-part="text"]');
    const before = await height(part);
    await page.keyboard.press("Escape");
    await answered(page, { outcome: "stopped" });
    assert.equal(await height(part), before);
  }
  // What can be done with an answer takes the place of what waits for it: nothing moves at the end.
  await open(page, stack);
  await say(page, simText("One short line.", "pace_ms=150"));
  await grown(page, 4);
  const before = await height(answers(page).last());
  await answered(page);
  assert.equal(await height(answers(page).last()), before);
});

test("after five seconds without a word the page says that it waits", {
  goal: "caret",
  timeout: 60_000,
}, async (t) => {
  const stack = await t.stack({ nginx: false, pace: 1 });
  const page = await t.page(stack);
  await open(page, stack);
  const announced = await page.evaluateHandle(() => {
    const announced = [];
    const region = document.querySelector("[data-testid=announcer]");
    new MutationObserver(() => announced.push(region.textContent.trim())).observe(region, {
      childList: true,
      subtree: true,
      characterData: true,
    });
    return announced;
  });
  const began = Date.now();
  await say(page, simText("At last.", "first_ms=4000"));
  const [{ model }] = stack.gateways;
  model.pause();
  const note = answers(page).last().getByText("Still waiting for the model…");
  await note.waitFor();
  assert.ok(Date.now() - began >= 4_900, "not before five seconds");
  model.resume();
  await answered(page);
  assert.equal(await note.count(), 0);
  const waits = (await announced.jsonValue()).filter((text) => /waiting/.test(text));
  assert.deepEqual(waits, ["Still waiting for the model."], "announced once");
});
