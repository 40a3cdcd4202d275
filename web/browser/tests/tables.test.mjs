/** Tables can be read at every width: no word is split, and what is wider than the page scrolls in its own box. */
import assert from "node:assert/strict";
import { AxeBuilder } from "@axe-core/playwright";
import { answered, open, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { source } from "../harness/corpus.mjs";
import { simText } from "../harness/prompts.mjs";
import { test } from "../harness/registry.mjs";

const WIDTHS = {
  desk: { viewport: { width: 1280, height: 800 } },
  phone: { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
};

/** Runs in the page: every word of every cell that stands on more than one line, and every cell that is too narrow. */
function splitWords() {
  const CJK = /[\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef]/g;
  const wrong = [];
  let words = 0;
  for (const cell of document.querySelectorAll('article[data-role="assistant"] :is(th, td)')) {
    const pieces = [];
    let text = "";
    const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      pieces.push({ node: walker.currentNode, from: text.length });
      text += walker.currentNode.data;
    }
    const place = (at) => {
      const piece = pieces.findLast(({ from }) => from <= at);
      return [piece.node, at - piece.from];
    };
    const cjk = text.match(CJK)?.length ?? 0;
    if (cjk > 0 && cjk <= 4 && text.length === cjk) {
      const range = document.createRange();
      range.selectNodeContents(cell);
      const lines = new Set([...range.getClientRects()].map(({ top }) => Math.round(top)));
      if (lines.size > 1) wrong.push(`${text}: ${lines.size} lines`);
    }
    const em = Number.parseFloat(getComputedStyle(cell).fontSize);
    if (cjk > 4 && cell.clientWidth < 6 * em) wrong.push(`${text}: ${cell.clientWidth} pixels wide`);
    for (const { 0: word, index } of text.matchAll(/\S+/g)) {
      if (word.search(CJK) >= 0) continue;
      words += 1;
      const range = document.createRange();
      range.setStart(...place(index));
      // The end of the last letter, not the beginning of the node after it.
      const [node, offset] = place(index + word.length - 1);
      range.setEnd(node, offset + 1);
      const lines = new Set([...range.getClientRects()].map(({ bottom }) => Math.round(bottom / 4)));
      if (lines.size > 1) wrong.push(word);
    }
  }
  return { wrong, words, tables: document.querySelectorAll("article table").length };
}

async function withTables(t, options) {
  const { TABLES } = await source("src/testing/tables.ts");
  const stack = await t.stack({ nginx: false, pace: 0, first: 0 });
  const page = await t.page(stack, options);
  await open(page, stack);
  const size = 6;
  for (let from = 0; from < TABLES.length; from += size) {
    await say(page, simText(TABLES.slice(from, from + size).join("\n\n")));
    await answered(page, { count: from / size + 1 });
  }
  await until("all are drawn", async () => (await page.locator("article table").count()) === TABLES.length);
  return { page, count: TABLES.length };
}

for (const [name, options] of Object.entries(WIDTHS)) {
  test(`no word of a table is split: ${name}`, {}, async (t) => {
    const { page, count } = await withTables(t, options);
    const { wrong, words, tables } = await page.evaluate(splitWords);
    assert.deepEqual(wrong, []);
    assert.equal(tables, count);
    assert.ok(words > 300, `${words} words were looked at`);
    const wide = await page.evaluate(() =>
      [document.documentElement, document.querySelector('[role="log"]')].map(
        (box) => box.scrollWidth - box.clientWidth,
      ),
    );
    assert.deepEqual(wide, [0, 0], "the page itself does not scroll sideways");
    t.figure({ case: name, tables, words });
  });
}

test("a wide table says so, and scrolls by keys", {}, async (t) => {
  const { page } = await withTables(t, WIDTHS.phone);
  const boxes = page.locator("article [data-more]");
  await until("some are wide", async () => (await boxes.count()) > 5);
  const groups = page.getByRole("group", { name: "Table" });
  assert.equal(
    await groups.count(),
    await boxes.count(),
    "what scrolls has a name, and nothing else is a stop for the keyboard",
  );
  const region = groups.first();
  const box = page.locator("article [data-more]").first();
  assert.equal(await box.getAttribute("data-more"), "right");
  await region.focus();
  await page.keyboard.press("ArrowRight");
  await until("it is between its ends", async () => (await box.getAttribute("data-more")) === "left right");
  // The key's own scrolling may still be under way, and then it has the last word.
  await until("it is at its end", async () => {
    await region.evaluate((element) => element.scrollTo({ left: element.scrollWidth }));
    return (await box.getAttribute("data-more")) === "left";
  });
  const { violations } = await new AxeBuilder({ page }).setLegacyMode(true).analyze();
  assert.deepEqual(
    violations.map(({ id }) => id),
    [],
  );
});

test("a cell from right to left is read from its right side", {}, async (t) => {
  const stack = await t.stack({ nginx: false, pace: 0, first: 0 });
  const page = await t.page(stack, WIDTHS.desk);
  await open(page, stack);
  await say(page, simText("| A longer head | Another one |\n| - | - |\n| ميناء | port |"));
  await answered(page);
  const sides = await page.locator("article td").evaluateAll((cells) =>
    cells.map((cell) => {
      const range = document.createRange();
      range.selectNodeContents(cell);
      const [text, box] = [range.getBoundingClientRect(), cell.getBoundingClientRect()];
      return text.left - box.left > box.right - text.right ? "right" : "left";
    }),
  );
  assert.deepEqual(sides, ["right", "left"]);
});

test("the caret breaks no line of the cell that it stands in", {}, async (t) => {
  const stack = await t.stack({ nginx: false, first: 0 });
  const page = await t.page(stack, WIDTHS.desk);
  await open(page, stack);
  await say(page, simText("| Port | Range in metres |\n|---|---|\n| a | b |", "pace_ms=100"));
  const lines = await page.waitForFunction(() => {
    const cell = document.querySelectorAll("article th")[1];
    if (cell?.textContent !== "Range in metres") return 0;
    if (getComputedStyle(cell, "::after").content === "none") return -1;
    const range = document.createRange();
    range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size;
  });
  assert.equal(await lines.jsonValue(), 1);
});
