/** Conversations from files: many at once, from ChatGPT, and what is no such file. */
import assert from "node:assert/strict";
import { articles, open, ready } from "../harness/chat.mjs";
import { round } from "../harness/figures.mjs";
import { test } from "../harness/registry.mjs";

const give = (page, text, name = "a.json") =>
  page
    .locator("input[type=file]")
    .setInputFiles({ name, mimeType: "application/json", buffer: Buffer.from(text) });

/** Of our own form, each with ten messages. */
function ours(count) {
  const conversations = Array.from({ length: count }, (_, at) => {
    const messages = {};
    for (let k = 0; k < 10; k++) {
      const parent = k === 0 ? null : `m-${k - 1}`;
      const text = `${at} ${k} ${"The moon pulls at the ocean. ".repeat(20)}`;
      messages[`m-${k}`] =
        k % 2 === 0
          ? { role: "user", id: `m-${k}`, parent, text, created: k, delivery: "accepted" }
          : { role: "assistant", id: `m-${k}`, parent, text, reasoning: "", created: k, outcome: "done" };
    }
    return { id: `c-${at}`, title: `Tide ${at}`, titled: true, created: at, updated: at, messages };
  });
  return JSON.stringify({ format: "tidegate-conversations", version: 1, conversations });
}

test("a thousand conversations are imported in one transaction, with progress", {
  timeout: 90_000,
}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack);
  await open(page, stack);
  await page.evaluate(() => {
    const seen = { writes: 0, values: [], worst: 0 };
    globalThis.seen = seen;
    const { transaction } = IDBDatabase.prototype;
    IDBDatabase.prototype.transaction = function (stores, mode, ...more) {
      if (mode === "readwrite") seen.writes++;
      return transaction.call(this, stores, mode, ...more);
    };
    new MutationObserver(() => {
      const bar = document.querySelector("progress");
      if (bar) seen.values.push(bar.hasAttribute("value") ? bar.value : null);
    }).observe(document.body, { subtree: true, childList: true, attributes: true });
    let last = performance.now();
    const frame = (now) => {
      seen.worst = Math.max(seen.worst, now - last);
      last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  const text = ours(1000);
  const began = Date.now();
  await give(page, text);
  await page.getByText("Imported conversations: 1,000.").waitFor({ timeout: 60_000 });
  const seen = await page.evaluate(() => globalThis.seen);
  t.figure({
    case: "import of 1,000",
    mib: round(text.length / 2 ** 20, 1),
    ms: Date.now() - began,
    longest_pause_ms: Math.round(seen.worst),
  });
  assert.equal(seen.writes, 1);
  const between = new Set(seen.values.filter((value) => value > 0 && value < 1000));
  assert.ok(between.size >= 3, `the bar moved: ${[...between]}`);
  assert.equal(await page.locator("progress").count(), 0);
  await page.reload();
  await ready(page);
  await page.getByRole("button", { name: "Tide 999", exact: true }).click();
  await articles(page).nth(9).waitFor();
});

test("ChatGPT's conversations are imported with their branches", {}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack);
  await open(page, stack);
  const message = (role, words) => ({ author: { role }, content: { content_type: "text", parts: [words] } });
  const mapping = {
    root: { message: null, parent: null },
    u: { message: message("user", "Why are there tides?"), parent: "root" },
    a: { message: message("assistant", "Because of the **moon**."), parent: "u" },
    b: { message: message("assistant", "Because of the sun."), parent: "u" },
  };
  await give(page, JSON.stringify([{ title: "Tides", create_time: 1.7e9, mapping, current_node: "a" }]));
  await page.getByText("Imported conversations: 1.").waitFor();
  await page.getByRole("button", { name: "Tides", exact: true }).click();
  await page.getByText("1/2").waitFor();
  await page.locator("strong", { hasText: "moon" }).waitFor();
  await page.getByRole("button", { name: "Next version" }).click();
  await page.getByText("Because of the sun.").waitFor();
});

test("a file that cannot be imported is answered with the reason", {}, async (t) => {
  const stack = await t.stack({ nginx: false });
  for (const [locale, cases] of Object.entries({
    "en-US": [
      ["{", "it is not JSON"],
      ["{}", "neither of this page nor of ChatGPT"],
      ["PK\u0003\u0004", "Unpack it"],
      ['[{"mapping":{}}]', "no conversation that can be read"],
    ],
    "zh-CN": [["{", "不是 JSON"]],
  })) {
    const page = await t.page(stack, { locale });
    await open(page, stack);
    for (const [text, sentence] of cases) {
      await give(page, text);
      await page.getByText(sentence).waitFor();
    }
    assert.equal(await page.getByRole("navigation").getByRole("listitem").count(), 0);
  }
});
