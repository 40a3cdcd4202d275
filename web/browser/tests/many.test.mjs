/** A conversation of ten thousand messages is as quick as one of ten: G6. */
import assert from "node:assert/strict";
import { answered, articles, grown, open, say, settled } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { round } from "../harness/figures.mjs";
import { collecting, heapMb, measure } from "../harness/measure.mjs";
import { RICH, rich, simText } from "../harness/prompts.mjs";
import { test } from "../harness/registry.mjs";

const COUNT = 10_000;

/** As the page exports it. */
function conversation(title, count) {
  const messages = {};
  const chosen = {};
  let parent = null;
  const paragraphs = RICH.split("\n\n").filter((text) => text.trim() !== "");
  for (let k = 0; k < count; k++) {
    const id = `m${k}`;
    const text = k === 5000 ? "the needle in this haystack" : `No ${k}: ${paragraphs[k % paragraphs.length]}`;
    messages[id] =
      k % 2 === 0
        ? { role: "user", id, parent, text: text.slice(0, 200), created: k, delivery: "accepted" }
        : {
            role: "assistant",
            id,
            parent,
            text,
            reasoning: "",
            created: k,
            outcome: "done",
            model: "sim-chat",
          };
    chosen[parent ?? ""] = id;
    parent = id;
  }
  return { id: "long", title, titled: true, created: 1, updated: 2, messages, chosen, system: "", epoch: 0 };
}

async function bring(page, conversations) {
  const choosing = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: "Import" }).click();
  const text = JSON.stringify({ format: "tidegate-conversations", version: 1, conversations });
  await (await choosing).setFiles({
    name: "all.json",
    mimeType: "application/json",
    buffer: Buffer.from(text),
  });
  await page.getByText(/imported/i).waitFor({ timeout: 30_000 });
}

/** Milliseconds from a click until what it shows was painted. */
const timed = (page, target, shows) =>
  target.evaluate((element, shows) => {
    const began = performance.now();
    element.click();
    return new Promise((resolve) => {
      const look = () => {
        const found = [...document.querySelectorAll("article[data-message]")].some((one) => {
          const box = one.getBoundingClientRect();
          return one.textContent.includes(shows) && box.bottom > 0 && box.top < innerHeight;
        });
        if (!found) {
          requestAnimationFrame(look);
          return;
        }
        const channel = new MessageChannel();
        channel.port1.onmessage = () => resolve(performance.now() - began);
        requestAnimationFrame(() => channel.port2.postMessage(0));
      };
      requestAnimationFrame(look);
    });
  }, shows);

test("10,000 messages", { goal: "G6", alone: true, timeout: 120_000 }, async (t) => {
  const stack = await t.stack({ nginx: false });
  const context = await t.context(stack);
  await collecting(context);
  const page = await context.newPage();
  await open(page, stack);
  await say(page, simText(RICH));
  await answered(page);
  await bring(page, [conversation("the long one", COUNT)]);
  const list = page.getByRole("navigation", { name: "Conversations" });
  const long = list.getByRole("button", { name: "the long one", exact: true });
  const short = list.getByRole("button", { name: /^\/sim/ }).first();
  await short.click();
  await until("the short one", async () => (await articles(page).count()) === 2);
  await page.reload();
  await until("the short one again", async () => (await articles(page).count()) === 2);
  const last = `No ${COUNT - 1}: `;
  const first = await timed(page, long, last);
  await timed(page, short, "The rest is weather");
  const mount = await timed(page, long, last);
  const outside = await page.evaluate(() => {
    const log = document.querySelector('[role="log"]');
    const seen = [...log.querySelectorAll("article")].filter((one) => {
      const box = one.getBoundingClientRect();
      return box.bottom > 0 && box.top < innerHeight;
    });
    const inside = seen.reduce((sum, one) => sum + 1 + one.querySelectorAll("*").length, 0);
    return document.querySelectorAll("body *").length - inside;
  });
  const box = await page.getByRole("log").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + 200);
  const meter = await measure(page);
  for (let step = 0; step < (t.goals ? 250 : 80); step++) await page.mouse.wheel(0, -240);
  const wheel = await meter.end();

  // Reads above while an answer is written below.
  await page.getByRole("button", { name: "Jump to latest" }).click();
  await say(page, rich(t.goals ? 2000 : 800, 5));
  await grown(page, 300);
  await page.mouse.move(box.x + box.width / 2, box.y + 200);
  for (let step = 0; step < 8; step++) await page.mouse.wheel(0, -400);
  await settled(page);
  const drift = await page.evaluate(async () => {
    const box = document.querySelector('[role="log"]').getBoundingClientRect();
    const mark = document.elementFromPoint(box.left + box.width / 2, box.top + 200).closest("article");
    const from = mark.getBoundingClientRect().top;
    let worst = 0;
    const end = performance.now() + 3000;
    while (performance.now() < end) {
      await new Promise((resolve) => requestAnimationFrame(resolve));
      worst = Math.max(worst, Math.abs(mark.getBoundingClientRect().top - from));
    }
    return worst;
  });
  await answered(page, { count: 1 }).catch(() => {});
  await page.locator('article[data-outcome="streaming"]').waitFor({ state: "detached", timeout: 30_000 });

  await page.getByRole("searchbox", { name: "Search conversations" }).fill("needle in this haystack");
  const hit = list.getByRole("button").filter({ hasText: "needle" }).first();
  await hit.waitFor();
  const jump = await timed(page, hit, "the needle in this haystack");
  const figures = {
    first_mount_ms: round(first),
    mount_ms: round(mount),
    outside_elements: outside,
    wheel_over_20_percent: wheel.over_20_percent,
    wheel_worst_ms: wheel.worst_frame_ms,
    drift_px: round(drift),
    jump_ms: round(jump),
    heap_mb: await heapMb(page),
  };
  assert.ok(figures.mount_ms > 0);
  const goals = {
    mount_ms: 100,
    outside_elements: 200,
    wheel_over_20_percent: 0.5,
    drift_px: 0,
    jump_ms: 100,
    heap_mb: 60,
  };
  const bounds = { mount_ms: 500, outside_elements: 400, drift_px: 1, jump_ms: 600, heap_mb: 120 };
  t.figure(figures, t.goals ? goals : bounds);
});
