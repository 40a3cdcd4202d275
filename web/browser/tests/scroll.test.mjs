/** The page follows the answer until the reader says otherwise, and then nothing moves: G14. */
import assert from "node:assert/strict";
import { answered, grown, open, say, settled } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { RICH, rich, simText } from "../harness/prompts.mjs";
import { test } from "../harness/registry.mjs";

/** Follows in each frame where the words in the middle of the view are. */
const watchPlace = (page) =>
  page.evaluate(() => {
    const box = document.querySelector('[role="log"]').getBoundingClientRect();
    const x = box.left + box.width / 2;
    let mark = null;
    for (let y = Math.max(box.top, 0) + 120; y < innerHeight - 200 && !mark; y += 10) {
      const found = document.elementFromPoint(x, y);
      if (found?.closest('[data-part="text"]') && !found.matches('[data-part="text"]')) mark = found;
    }
    if (!mark) throw new Error("no words are in view");
    const from = mark.getBoundingClientRect().top;
    const drift = { worst: 0, frames: 0, gone: false };
    globalThis.drift = drift;
    const frame = () => {
      drift.frames++;
      if (!mark.isConnected) drift.gone = true;
      else drift.worst = Math.max(drift.worst, Math.abs(mark.getBoundingClientRect().top - from));
      if (globalThis.drift === drift) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });

const fromEnd = (page) =>
  page.evaluate(() => {
    let at = document.querySelector('[role="log"]');
    while (at && at.scrollHeight <= at.clientHeight + 1) at = at.parentElement;
    return at ? Math.round(at.scrollHeight - at.clientHeight - at.scrollTop) : 0;
  });

async function overThread(page) {
  const box = await page.getByRole("log").boundingBox();
  await page.mouse.move(box.x + box.width / 2, Math.min(box.y + 300, 400));
}

test("who reads above is not moved", { seconds: 10, goal: "G14", timeout: 90_000 }, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack);
  await open(page, stack);
  await say(page, simText(RICH, "pace_ms=0 tokens=3000"));
  await answered(page);
  const deltas = t.goals ? 6000 : 1600;
  await say(page, rich(deltas, 5));
  await grown(page, 1500);
  await until("it follows", async () => (await fromEnd(page)) < 40);
  await overThread(page);
  await page.mouse.wheel(0, -2600);
  await until("the reader left the end", async () => (await fromEnd(page)) > 800);
  await settled(page);
  await watchPlace(page);
  await grown(page, 3500);
  await answered(page, { count: 2, timeout: 60_000 });
  // After the end: the theme and the window change, and still nothing moves.
  await page.emulateMedia({ colorScheme: "dark" });
  await page.waitForTimeout(200);
  const drift = await page.evaluate(() => globalThis.drift);
  assert.equal(drift.gone, false);
  t.figure({ case: "reading above", frames: drift.frames, drift_px: drift.worst }, { drift_px: 0.5 });
  await page.getByRole("button", { name: "Jump to latest" }).click();
  await until("the end", async () => (await fromEnd(page)) < 40);
});

test("it follows to the end, also while it answers fast", { goal: "G14" }, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack);
  await open(page, stack);
  await say(page, rich(1500, 2));
  await grown(page, 1000);
  let worst = 0;
  while ((await page.locator('article[data-outcome="done"]').count()) === 0) {
    worst = Math.max(worst, await fromEnd(page));
    await page.waitForTimeout(20);
  }
  await until("the end", async () => (await fromEnd(page)) < 40);
  t.figure({ case: "following", lag_px: worst }, { lag_px: 160 });
});

for (const way of ["wheel", "PageUp", "touch"]) {
  test(`the latch lets go by ${way}`, { seconds: 10, goal: "G14" }, async (t) => {
    const stack = await t.stack({ nginx: false });
    const page = await t.page(
      stack,
      way === "touch" ? { hasTouch: true, viewport: { width: 400, height: 700 } } : {},
    );
    await open(page, stack);
    await say(page, rich(6000, 6)); // Much longer than the test.
    await grown(page, 2500);
    await until("it follows", async () => (await fromEnd(page)) < 40);
    await overThread(page).catch(() => {});
    if (way === "wheel") await page.mouse.wheel(0, -300);
    else if (way === "PageUp") {
      await page.getByRole("log").evaluate((log) => {
        let at = log;
        while (at && at.scrollHeight <= at.clientHeight + 1) at = at.parentElement;
        if (at.tabIndex < 0) at.tabIndex = -1;
        at.focus();
      });
      await page.keyboard.press("PageUp");
    } else {
      const session = await page.context().newCDPSession(page);
      const touch = (type, y) =>
        session.send("Input.dispatchTouchEvent", { type, touchPoints: y === null ? [] : [{ x: 200, y }] });
      await touch("touchStart", 200);
      for (let y = 210; y <= 420; y += 15) await touch("touchMove", y);
      await touch("touchEnd", null);
    }
    await page.getByRole("button", { name: "Jump to latest" }).waitFor();
    await until("it has let go", async () => (await fromEnd(page)) > 100);
    await settled(page);
    const before = await fromEnd(page);
    const shown = (
      await page.locator('article[data-role="assistant"] [data-part="text"]').last().textContent()
    ).length;
    await grown(page, shown + 600);
    const after = await fromEnd(page);
    assert.ok(
      after >= before,
      `it does not pull the reader back: ${after} px from the end, ${before} before`,
    );
    await page.getByRole("button", { name: "Jump to latest" }).click();
    await until("it follows again", async () => (await fromEnd(page)) < 60);
    const then = (
      await page.locator('article[data-role="assistant"] [data-part="text"]').last().textContent()
    ).length;
    await grown(page, then + 400);
    // At any one moment it may be some lines behind, but it comes to the end again and again.
    await until("it goes on following", async () => (await fromEnd(page)) < 60);
  });
}
