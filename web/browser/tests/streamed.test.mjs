/** No frame of an answer that is being written shows its marks, and at its end it looks as if it had come in one piece. */
import assert from "node:assert/strict";
import { answered, open, say } from "../harness/chat.mjs";
import { source } from "../harness/corpus.mjs";
import { simText } from "../harness/prompts.mjs";
import { test } from "../harness/registry.mjs";

const LONG = process.env.LONG === "1";
const COUNT = LONG ? 200 : 20;
const PAGES = 5;
/** Milliseconds from one token to the next: many in a frame, about one in each, one in four. */
const PACES = [3, 16, 60];

/** Runs in the page: looks at every frame in which anything has changed for marks outside of code and formulas. */
function watch(patterns) {
  const raw = patterns.map(([source, flags]) => new RegExp(source, flags));
  const BLOCKS = "p, li, th, td, h3, h4, h5, h6, summary, blockquote, section";
  const seen = { frames: 0, states: 0, wrong: [] };
  let last = "";
  const textOf = (root) => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, (node) =>
      node.nodeType === Node.ELEMENT_NODE && node.matches("code, pre, math, button")
        ? NodeFilter.FILTER_REJECT
        : NodeFilter.FILTER_ACCEPT,
    );
    let text = "";
    while (walker.nextNode()) {
      const node = walker.currentNode;
      if (node.nodeType === Node.TEXT_NODE) text += node.data;
      else if (node.matches(BLOCKS)) text += "\n";
    }
    return text;
  };
  let isAwaited = false;
  const look = () => {
    isAwaited = false;
    const parts = document.querySelectorAll('article[data-role="assistant"] [data-part="text"]');
    const part = parts[parts.length - 1];
    if (part?.firstElementChild?.checkVisibility({ visibilityProperty: true })) {
      const text = textOf(part);
      seen.frames += 1;
      if (text !== last) {
        seen.states += 1;
        last = text;
        const found = raw.find((one) => one.test(text));
        if (found) seen.wrong.push(`${found}: …${JSON.stringify(text.slice(-60))}`);
      }
    }
  };
  new MutationObserver(() => {
    if (!isAwaited) requestAnimationFrame(look);
    isAwaited = true;
  }).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
  globalThis.watched = seen;
}

/** What all answers look like, when the renderer, colours and formulas are there. */
async function pictures(page) {
  await page.waitForFunction(() => {
    const waits = document.querySelectorAll('[data-part="text"] :is([hidden], [role="img"])').length;
    const parts = [...document.querySelectorAll('article[data-role="assistant"] [data-part="text"]')];
    if (!parts.every((part) => part.firstElementChild?.firstElementChild)) return false;
    const code = [...document.querySelectorAll("pre code")];
    return waits === 0 && code.every((one) => one.childElementCount > 0 || /^graph/.test(one.textContent));
  });
  return await page.$$eval('article[data-role="assistant"] [data-part="text"]', (parts) =>
    parts.map((part) => part.innerHTML),
  );
}

async function follow(t, stack, texts, paceMs, patterns) {
  // A caret that blinks would have each of these pages drawn all the time.
  const page = await t.page(stack, { reducedMotion: "reduce" });
  await page.addInitScript(watch, patterns);
  await open(page, stack);
  // The renderer is fetched while a person writes; an answer that is faster than it is shown as its source.
  await page.waitForFunction(() =>
    performance.getEntriesByType("resource").some(({ name }) => /markdown-[^/]*\.js$/.test(name)),
  );
  for (const [at, text] of texts.entries()) {
    await say(page, simText(text, `pace_ms=${paceMs} first_ms=5`));
    await answered(page, { count: at + 1, timeout: 120_000 });
  }
  const seen = await page.evaluate(() => globalThis.watched);
  const written = await pictures(page);
  await page.reload();
  await page
    .locator('article[data-outcome="done"]')
    .nth(texts.length - 1)
    .waitFor();
  assert.deepEqual(written, await pictures(page), "as in one piece");
  return seen;
}

for (const paceMs of PACES) {
  test(`no frame shows marks: ${paceMs} ms a token`, {
    seconds: paceMs,
    timeout: LONG ? 1_200_000 : 120_000,
  }, async (t) => {
    const { answers, RAW } = await source("src/testing/answers.ts");
    const stack = await t.stack({ nginx: false });
    const all = answers(COUNT);
    const patterns = RAW.map(({ source, flags }) => [source, flags]);
    const seen = await Promise.all(
      Array.from({ length: PAGES }, (_, page) =>
        follow(
          t,
          stack,
          all.filter((_, at) => at % PAGES === page),
          paceMs,
          patterns,
        ),
      ),
    );
    assert.deepEqual(seen.flatMap(({ wrong }) => wrong).slice(0, 20), []);
    const sum = (name) => seen.reduce((total, one) => total + one[name], 0);
    // Each answer was seen in the middle, and more than once.
    assert.ok(sum("states") > COUNT * 2, `${sum("states")} states of ${COUNT} answers`);
    t.figure({ case: `${paceMs} ms`, answers: COUNT, frames: sum("frames"), states: sum("states"), raw: 0 });
  });
}
