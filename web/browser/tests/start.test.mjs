/** The page comes up, says what it is, and talks: directly and through nginx. */
import assert from "node:assert/strict";
import { answered, composer, open, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { test } from "../harness/registry.mjs";

for (const nginx of [true, false]) {
  test(`a first talk ${nginx ? "through nginx" : "directly"}`, { goal: "G21" }, async (t) => {
    const stack = await t.stack({ nginx });
    const page = await t.page(stack);
    await open(page, stack);
    await composer(page).waitFor();
    await say(page, '/sim text="The tide rises, **the tide** falls."');
    await answered(page);
    // Plain at first, formatted as soon as the renderer is there.
    const first = page.locator('article[data-role="assistant"] [data-part="text"]').first();
    await until(
      "a formatted answer",
      async () => (await first.textContent()).trim() === "The tide rises, the tide falls.",
    );
    assert.equal(await first.locator("strong").textContent(), "the tide");
    // Once more, and in Chinese, to see that the second one follows the first.
    await say(page, "你好");
    assert.match(await answered(page, { count: 2 }), /\p{Script=Han}/u);
  });
}
