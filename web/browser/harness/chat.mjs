/** User actions on the page, and what it shows. */
import { until } from "./children.mjs";

/** Opens the page and waits until the composer is ready. */
export async function open(page, stack, path = "/") {
  await page.goto(stack.url + path);
  await ready(page);
  return page;
}

export async function ready(page) {
  await page.waitForSelector("html[data-ready]");
}

export const composer = (page) => page.getByRole("textbox", { name: /^(Message|消息)$/ });
export const articles = (page) => page.locator("article[data-message]");
export const answers = (page) => page.locator('article[data-role="assistant"]');
export const asked = (page) => page.locator('article[data-role="user"]');

/** Sends a message, and returns when it is shown: what waits for its answer is not content with the one before. */
export async function say(page, text) {
  const newest = () => [...document.querySelectorAll('article[data-role="user"]')].at(-1)?.dataset.message;
  const before = await page.evaluate(newest);
  await send(page, text);
  await page.waitForFunction((before) => {
    const newest = [...document.querySelectorAll('article[data-role="user"]')].at(-1)?.dataset.message;
    return newest !== undefined && newest !== before;
  }, before);
}

/** Sends a message, and does not wait until it is shown. */
export async function send(page, text) {
  await composer(page).fill(text);
  await composer(page).press("Enter");
}

/** The shown text of the last answer, once it ended with `outcome`. */
export async function answered(page, { outcome = "done", count, timeout = 30_000 } = {}) {
  const last = page.locator(`article[data-role="assistant"][data-outcome="${outcome}"]`);
  if (count !== undefined)
    await until(`${count} answers`, async () => (await last.count()) >= count, timeout);
  // A question below it is not answered yet.
  else await articles(page).last().and(last).waitFor({ state: "attached", timeout });
  return await textOf(answers(page).last());
}

/** The shown text of an answer, without its buttons. */
export async function textOf(article) {
  return await article
    .locator('[data-part="text"]')
    .evaluateAll((parts) => parts.map((part) => part.textContent).join(""));
}

/** Waits until the answer to the last question has at least this many characters. */
export async function grown(page, characters, timeout = 30_000, polling = 50) {
  await page.waitForFunction(
    (least) => {
      const last = [...document.querySelectorAll("article[data-message]")].at(-1);
      if (last?.dataset.role !== "assistant") return false;
      const texts = last.querySelectorAll('[data-part="text"]');
      return (texts[texts.length - 1]?.textContent?.length ?? 0) >= least;
    },
    characters,
    { timeout, polling },
  );
}

/** Waits until the thread is not scrolled any more: the wheel and the finger move it for some frames. */
export async function settled(page) {
  await page.evaluate(async () => {
    let box = document.querySelector('[role="log"]');
    while (box && box.scrollHeight <= box.clientHeight + 1) box = box.parentElement;
    let last = null;
    for (let still = 0; box && still < 15; ) {
      await new Promise((resolve) => requestAnimationFrame(resolve));
      still = box.scrollTop === last ? still + 1 : 0;
      last = box.scrollTop;
    }
  });
}

/** A text that reveals every loss, duplicate and change of order: `#0 … #1 …`. */
export function numbered(text) {
  return [...text.matchAll(/#(\d+) /g)].map((match) => Number(match[1]));
}

export function assertWhole(text, count) {
  const numbers = numbered(text);
  for (let k = 0; k < Math.max(count, numbers.length); k++) {
    if (numbers[k] !== k)
      throw new Error(`delta ${k} of ${count} is ${numbers[k]} (${numbers.length} shown)`);
  }
}
