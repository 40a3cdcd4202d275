/** On paper: the whole conversation, and nothing that can only be clicked. Read as `pdftotext` reads it. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { answered, answers, grown, open, say } from "../harness/chat.mjs";
import { simText } from "../harness/prompts.mjs";
import { test } from "../harness/registry.mjs";

const run = promisify(execFile);

const LONG_LINE = `let line = "${"0123456789 ".repeat(16)}END-OF-LINE";`;
const RICH = [
  `\`\`\`rust\nfn main() {\n    ${LONG_LINE}\n}\n\`\`\``,
  `| ${Array.from({ length: 14 }, (_, k) => `Heading ${k}`).join(" | ")} |\n|${" --- |".repeat(14)}\n| ${Array.from(
    { length: 14 },
    (_, k) => `some words of cell${k}`,
  ).join(" | ")} |`,
  "$$\n\\sum_{n=1}^{\\infty} \\frac{1}{n^2} = \\frac{\\pi^2}{6}\n$$",
  `An endless word: ${"a".repeat(300)}`,
].join("\n\n");

const FOLD = "\n\n<details>\n<summary>A fold</summary>\n\nFOLDED away.\n\n</details>";

/** In the form that the page imports. */
function exported(turns, answerOf) {
  const messages = {};
  const chosen = {};
  let parent = null;
  for (let k = 1; k <= turns; k += 1) {
    const [user, assistant] = [`u${k}`, `a${k}`];
    const base = { created: 1_700_000_000_000 + k };
    messages[user] = {
      ...base,
      role: "user",
      id: user,
      parent,
      text: `QUESTION-${k}.`,
      delivery: "accepted",
    };
    messages[assistant] = {
      ...base,
      role: "assistant",
      id: assistant,
      parent: user,
      text: `ANSWER-${k}.\n\n${answerOf(k)}${k === 4 ? FOLD : ""}`,
      reasoning: k === 2 ? "REASONED about it." : "",
      outcome: "done",
      model: "sim-chat",
    };
    chosen[parent ?? ""] = user;
    chosen[user] = assistant;
    parent = assistant;
  }
  const conversation = {
    ...{
      id: "paper",
      title: "A talk on paper",
      titled: true,
      created: 1_700_000_000_000,
      updated: 1_700_000_000_000,
    },
    ...{ messages, chosen, system: "", epoch: 0, remembered: [] },
  };
  return JSON.stringify({ format: "tidegate-conversations", version: 1, conversations: [conversation] });
}

async function show(page, stack, turns, answerOf) {
  await open(page, stack);
  const buffer = Buffer.from(exported(turns, answerOf));
  await page
    .locator("input[type=file]")
    .setInputFiles({ name: "seed.json", mimeType: "application/json", buffer });
  await page.getByRole("button", { name: "A talk on paper", exact: true }).click();
  await page.getByText(`ANSWER-${turns}.`).waitFor();
}

/** The text of what would be printed, and how many pages it has. */
async function printed(t, page) {
  const folder = await mkdtemp(join(tmpdir(), "tidegate-print-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "page.pdf");
  await writeFile(path, await page.pdf({ format: "A4" }));
  if (process.env.KEEP_PDF) await run("cp", [path, process.env.KEEP_PDF]);
  const { stdout } = await run("pdftotext", ["-layout", path, "-"], { maxBuffer: 1 << 28 });
  return { text: stdout, pages: stdout.split("\f").length - 1 };
}

function assertAll(text, turns, from = 1) {
  const found = [...text.matchAll(/(QUESTION|ANSWER)-(\d+)\./g)].map(([all]) => all);
  const wanted = [];
  for (let k = from; k <= turns; k += 1) wanted.push(`QUESTION-${k}.`, `ANSWER-${k}.`);
  assert.deepEqual(found, wanted);
}

/** With the page as wide as the paper: nothing is cut at its edge. */
async function assertFits(page) {
  await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
  await page.setViewportSize({ width: 680, height: 900 });
  await page.emulateMedia({ media: "print" });
  const wide = await page.evaluate(() =>
    [...document.querySelectorAll("[data-message] *")]
      .filter((one) => one.getClientRects().length > 0 && one.getBoundingClientRect().right > innerWidth + 1)
      .map((one) => `${one.localName}: ${one.textContent.slice(0, 40)}`),
  );
  assert.deepEqual(wide.slice(0, 5), []);
  const colours = await page.evaluate(() => ({
    paper: getComputedStyle(document.documentElement).backgroundColor,
    ink: getComputedStyle(document.querySelector('[data-role="assistant"] [data-part="text"]')).color,
    code: getComputedStyle(document.querySelector("pre code")).color,
  }));
  assert.equal(colours.paper, "rgb(255, 255, 255)");
  for (const ink of [colours.ink, colours.code])
    assert.ok(Math.max(...ink.match(/\d+/g).map(Number)) < 128, `${ink} on white`);
  await page.emulateMedia({ media: "screen" });
  await page.evaluate(() => dispatchEvent(new Event("afterprint")));
}

for (const colorScheme of ["light", "dark"]) {
  test(`all 24 messages are printed, ${colorScheme}`, { goal: "print" }, async (t) => {
    const stack = await t.stack({ nginx: false });
    const page = await t.page(stack, { colorScheme });
    await show(page, stack, 12, (k) =>
      k === 3 ? RICH : `It is **so**.\n\n- one\n- two\n\n${"Words. ".repeat(40)}`,
    );
    await page.locator("math").waitFor();
    const { text, pages } = await printed(t, page);
    assertAll(text, 12);
    assert.ok(pages >= 2 && pages <= 12, `${pages} pages`);
    assert.match(text, /A talk on paper/);
    assert.match(text, /REASONED about it/, "what was thought");
    assert.match(text, /FOLDED away/, "what is folded on the screen");
    assert.match(text, /END-OF-LINE/, "the end of a long line of code");
    assert.match(text, /cell13/, "the last column of a wide table");
    for (const word of [
      /Search/,
      /New chat/,
      /Ask something/,
      /Enter sends/,
      /Regenerate/,
      /Copy/,
      /Wrap/,
      /tokens/,
    ])
      assert.doesNotMatch(text, word);
    await assertFits(page);
    // And the page is what it was.
    assert.equal(await page.locator("details[open]").count(), 0);
    assert.ok(await page.getByRole("button", { name: "New chat" }).isVisible());
  });
}

test("a long conversation is printed whole, though not all of it is drawn", {
  goal: "print",
  timeout: 90_000,
}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack);
  await show(page, stack, 200, () => "Short.");
  const drawn = () => page.locator("[data-message]").count();
  const before = await drawn();
  assert.ok(before < 200, `${before} are drawn on the screen`);
  assertAll((await printed(t, page)).text, 200);
  assert.equal(await page.locator("[data-paper]").count(), 0, "nothing stays of the paper");
});

test("of ten thousand messages the newest are printed, and the paper says so", {
  goal: "print",
  timeout: 180_000,
}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack);
  await show(page, stack, 5000, () => "Short, with **some** `words`.");
  const began = Date.now();
  const { text, pages } = await printed(t, page);
  t.figure({ case: "10,000 messages", pdf_ms: Date.now() - began, pages });
  assert.match(text, /The 9,000 oldest messages are not printed/);
  assertAll(text, 5000, 4501);
});

test("printing does not disturb an answer that is being written", { goal: "print" }, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack);
  await open(page, stack);
  const whole = `FIRST-WORDS ${"and more ".repeat(60)}LAST-WORDS`;
  await say(page, simText(whole, "pace_ms=30"));
  await grown(page, 60);
  const [{ model }] = stack.gateways;
  model.pause();
  const { text } = await printed(t, page);
  model.resume();
  assert.match(text.replaceAll(/\s+/g, " "), /FIRST-WORDS and more/);
  assert.doesNotMatch(text, /LAST-WORDS\s*$/);
  assert.equal(await answered(page), whole);
  assert.equal(await answers(page).count(), 1);
});
