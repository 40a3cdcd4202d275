/** A user who opens the demo and clicks one of the four questions sees the page at its best. */
import assert from "node:assert/strict";
import { answered, answers, open } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { test } from "../harness/registry.mjs";

/** What must be drawn, by question. */
const PARTS = {
  tides: ["table", "math", "details", "input[type=checkbox]", "ol > li", "blockquote"],
  power: ["table", "math", "hr"],
  words: ["table", "math", "details", "input[type=checkbox]", "pre code span"],
  streaming: ["table", "math", "details", "input[type=checkbox]", "pre code"],
};
/** What of the source must not be seen, outside of code and formulas. */
const MARKS = [/\[\^/, /<\/?details>/, /<summary>/, /\$\$/, /\*\*/, /^\|/m, /^#+ /m, /- \[[ x]\]/];

for (const [locale, viewport] of [
  ["en-US", { width: 1280, height: 800 }],
  ["zh-CN", { width: 390, height: 780 }],
]) {
  test(`the four examples of the demo are answered with all that can be drawn, ${locale}`, {
    seconds: 20,
    goal: "demo",
    timeout: 150_000,
  }, async (t) => {
    const stack = await t.stack({ demo: true, nginx: false });
    const ask = async ([name, parts], index) => {
      const page = await t.page(stack, { locale, viewport });
      await open(page, stack);
      await page.locator("section button").nth(index).click();
      await answered(page, { timeout: 60_000 });
      const text = answers(page).last().locator('[data-part="text"]');
      for (const part of parts)
        await until(`${part} in ${name}`, async () => (await text.locator(part).count()) > 0);
      const prose = await text.evaluate((element) => {
        const copy = element.cloneNode(true);
        for (const code of copy.querySelectorAll("pre, code, math")) code.remove();
        return [
          copy.textContent,
          ...[...copy.querySelectorAll("p, li, td")].map((one) => one.textContent),
        ].join("\n");
      });
      for (const mark of MARKS) assert.doesNotMatch(prose, mark, `${name}: the marks of Markdown`);
      const wide = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      assert.ok(wide <= 0, `${name}: ${wide} pixels too wide`);
      await page.close();
    };
    // Side by side: each of them takes as long as a model would.
    await Promise.all(Object.entries(PARTS).map(ask));
  });
}
