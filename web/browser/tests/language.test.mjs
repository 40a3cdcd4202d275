/** Chinese is complete, counts and times included: G15. */
import assert from "node:assert/strict";
import { answered, composer, grown, open, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { counting, simText } from "../harness/prompts.mjs";
import { NETWORK, test } from "../harness/registry.mjs";

/** Names of things, keys and formats, which are the same everywhere. */
const SAME =
  /^(Tidegate|ChatGPT|Enter|Shift|Ctrl|Alt|Esc|Escape|Cmd|Home|End|Tab|Markdown|JSON|English|sim-[a-z-]+|HTTP|WebSocket|Rust|tokens?|token\/s|px|ms|s|K|k|B|KB|KiB)$/;

/** Every word that a person can see or hear, but for what people and models wrote. */
function wordsOf() {
  const found = [];
  const skip = "article [data-part], [data-foreign], textarea, nav li button, pre, code, script, style";
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!parent || parent.closest(skip) || parent.closest("h1, h2")) continue;
    found.push(node.textContent);
  }
  for (const element of document.querySelectorAll(
    "[aria-label], [title], [placeholder], [alt], [aria-description]",
  )) {
    if (element.closest("nav li")) continue;
    for (const name of ["aria-label", "title", "placeholder", "alt", "aria-description"]) {
      if (element.hasAttribute(name)) found.push(element.getAttribute(name));
    }
  }
  // Thoughts and figures of an answer are the page's own words.
  for (const part of document.querySelectorAll('[data-part="usage"], [data-part="reasoning"] summary'))
    found.push(part.textContent);
  return found.map((text) => text.trim()).filter(Boolean);
}

async function check(page, where) {
  const texts = await page.evaluate(wordsOf);
  const wrong = texts.flatMap((text) => {
    const words = text.match(/[A-Za-z][A-Za-z'’-]+/g) ?? [];
    return words.filter((word) => !SAME.test(word)).map((word) => `${word} in “${text}”`);
  });
  assert.deepEqual(wrong, [], `English words: ${where}`);
  return texts.length;
}

test("Chinese has no English left", { goal: "G15", timeout: 90_000, allow: NETWORK }, async (t) => {
  const stack = await t.stack({ model: "sim-think" });
  const page = await t.page(stack, { locale: "zh-CN" });
  await open(page, stack);
  assert.match(await page.locator("html").getAttribute("lang"), /^zh/);
  let texts = await check(page, "empty");
  await say(page, "你好");
  await answered(page);
  texts += await check(page, "answered");
  await say(page, counting(400, 10));
  await grown(page, 20);
  texts += await check(page, "answering");
  await composer(page).press("Escape");
  await answered(page, { outcome: "stopped" });
  texts += await check(page, "stopped");
  for (const error of [
    "status=429 code=Throttling.RateQuota",
    "cut_after=3",
    "status=400 code=DataInspectionFailed",
  ]) {
    await say(page, `/sim ${error}`);
    await answered(page, { outcome: "failed" });
    texts += await check(page, error);
  }
  // Every button that opens something, one after the other.
  const header = page.locator("main button, aside button");
  for (let k = 0; k < (await header.count()); k++) {
    const button = header.nth(k);
    if (!(await button.isVisible()) || !(await button.getAttribute("aria-label"))?.match(/设置|快捷键/))
      continue;
    await button.click();
    await page.getByRole("dialog").waitFor();
    texts += await check(page, `dialog ${k}`);
    await page.keyboard.press("Escape");
  }
  await page.getByRole("navigation").getByRole("listitem").first().hover();
  await page.getByRole("navigation").getByRole("listitem").first().getByRole("button").nth(1).click();
  texts += await check(page, "menu");
  await page.keyboard.press("Escape");
  await page.getByRole("searchbox").fill("zzzz");
  await page.waitForFunction(() => document.querySelectorAll("nav li").length === 0);
  texts += await check(page, "nothing found");
  await page.context().setOffline(true);
  stack.proxy.refuse(true);
  await until("the banner", async () => (await page.getByTestId("connection").textContent())?.trim());
  texts += await check(page, "offline");
  t.figure({ case: "zh", texts });
});

test("the language can be changed, and is remembered", { goal: "G15" }, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  await open(page, stack);
  assert.equal(await page.locator("html").getAttribute("lang"), "en");
  await page.getByRole("button", { name: "Settings" }).first().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("radio", { name: "中文" }).check();
  await until("Chinese", async () => (await page.locator("html").getAttribute("lang"))?.startsWith("zh"));
  await page.reload();
  await until("still Chinese", async () =>
    (await page.locator("html").getAttribute("lang"))?.startsWith("zh"),
  );
  await say(page, simText("好"));
  await answered(page);
});
