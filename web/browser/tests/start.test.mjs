/** The page comes up, says what it is, and talks: directly and through nginx. */
import assert from "node:assert/strict";
import { answered, composer, grown, open, ready, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { NETWORK, test } from "../harness/registry.mjs";

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

test("the demo says that its answers are simulated, and goes on after a reload and a pulled cable", {
  seconds: 13,
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack({ demo: true, nginx: false });
  const page = await t.page(stack);
  await open(page, stack);
  await page.getByText("Simulated answers").waitFor();
  await page.getByRole("button", { name: "Describe tidal power in three sentences" }).click();
  assert.match(await answered(page), /turbines/);
  await say(page, "/sim tokens=250 pace_ms=10 seed=7");
  await grown(page, 100);
  await page.reload();
  await ready(page);
  await grown(page, 400);
  stack.proxy.refuse(true);
  await page.getByText("The connection is lost.").waitFor();
  stack.proxy.refuse(false);
  const whole = await answered(page, { count: 2 });
  // The same prompt and seed have the same answer, here without a loss.
  await say(page, "/sim tokens=250 pace_ms=0 seed=7");
  assert.equal(await answered(page, { count: 3 }), whole);
});
