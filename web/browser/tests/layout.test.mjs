/** Controls stand beside each other, in the window and in reach, at every width and in both languages. */
import assert from "node:assert/strict";
import { answered, asked, grown, open, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { counting } from "../harness/prompts.mjs";
import { NETWORK, test } from "../harness/registry.mjs";

const PHONE = { hasTouch: true, isMobile: true };
const WIDTHS = {
  320: { viewport: { width: 320, height: 640 }, ...PHONE },
  390: { viewport: { width: 390, height: 844 }, ...PHONE },
  1280: { viewport: { width: 1280, height: 800 } },
};

const named = (en, zh) => new RegExp(`^(${en}|${zh})$`);
const button = (page, en, zh) => page.getByRole("button", { name: named(en, zh) });

/** Every pair of controls that covers part of each other, whatever leaves the window, and what something else lies over. */
function faultsOf() {
  const isSeen = (element) =>
    element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) &&
    getComputedStyle(element).clipPath === "none" &&
    element.tabIndex >= (element.matches("h1, [role=img], label") ? -1 : 0) &&
    !element.closest("[inert], .offscreen");
  const dialog = document.querySelector("dialog[open]");
  const root = dialog ?? document.querySelector(":popover-open") ?? document.body;
  const selector = "button, a[href], input, textarea, select, summary, h1, [role=img], label:has(input)";
  const all = [...root.querySelectorAll(selector)].filter(isSeen);
  const name = (element) =>
    `${element.localName} “${(element.getAttribute("aria-label") ?? element.textContent).trim().slice(0, 30)}”`;
  /** The part of it that is not scrolled out of view. */
  const boxOf = (element) => {
    const { left, top, right, bottom } = element.getBoundingClientRect();
    const box = { left, top, right, bottom };
    for (let at = element.parentElement; at; at = at.parentElement) {
      if (!/auto|scroll|hidden|clip/.test(getComputedStyle(at).overflow)) continue;
      const around = at.getBoundingClientRect();
      box.left = Math.max(box.left, around.left);
      box.top = Math.max(box.top, around.top);
      box.right = Math.min(box.right, around.right);
      box.bottom = Math.min(box.bottom, around.bottom);
    }
    return box.right - box.left > 1 && box.bottom - box.top > 1 ? box : null;
  };
  const faults = [];
  const boxes = all.flatMap((element) => {
    const whole = element.getBoundingClientRect();
    if (whole.width <= 1) return [];
    if (whole.left < -0.5 || whole.right > innerWidth + 0.5)
      faults.push(`${name(element)} leaves the window`);
    const box = boxOf(element);
    return box ? [{ element, box }] : [];
  });
  for (const [at, { element, box }] of boxes.entries()) {
    for (const { element: other, box: theirs } of boxes.slice(at + 1)) {
      if (element.contains(other) || other.contains(element)) continue;
      const width = Math.min(box.right, theirs.right) - Math.max(box.left, theirs.left);
      const height = Math.min(box.bottom, theirs.bottom) - Math.max(box.top, theirs.top);
      if (width > 1 && height > 1)
        faults.push(`${name(element)} and ${name(other)} overlap by ${width} x ${height}`);
    }
    if (element.matches("h1, [role=img], input[type=radio]")) continue;
    const over = document.elementFromPoint((box.left + box.right) / 2, (box.top + box.bottom) / 2);
    if (over && !element.contains(over) && !over.contains(element))
      faults.push(`${name(over)} lies over ${name(element)}`);
  }
  return { faults, controls: boxes.length };
}

const LONG = "A conversation about everything that has ever been known of the sea";

const showList = async (page) => {
  const show = button(page, "Show conversations", "显示对话列表");
  if (await show.isVisible()) await show.click();
};

/** Reached one after the other. */
const STATES = {
  empty: async () => {},
  "a list of long titles": async (page) => {
    const titles = [
      LONG,
      "这是一个关于海洋历史与潮汐的非常非常长的对话标题",
      "محادثة طويلة جدا عن تاريخ البحار والمد والجزر",
    ];
    const conversations = titles.map((title, at) => ({
      id: `c-${at}`,
      title,
      titled: true,
      created: 1,
      updated: Date.now(),
      messages: { u: { role: "user", id: "u", parent: null, text: title, created: 1, delivery: "accepted" } },
    }));
    const text = JSON.stringify({ format: "tidegate-conversations", version: 1, conversations });
    await showList(page);
    await page
      .locator("input[type=file]")
      .setInputFiles({ name: "a.json", mimeType: "application/json", buffer: Buffer.from(text) });
    await page.locator("nav li").nth(2).hover();
  },
  "the menu of one": async (page) => {
    await page.locator("nav li").nth(2).getByRole("button").nth(1).click();
    await page.locator(":popover-open").waitFor();
  },
  "one deleted": async (page) => {
    await button(page, "Delete", "删除").click();
    await button(page, "Undo", "撤销").click({ trial: true });
  },
  "a conversation with versions": async (page) => {
    await button(page, "Undo", "撤销").click();
    await page.locator("nav li").first().getByRole("button").first().click();
    await say(page, "/sim tokens=3 pace_ms=0");
    await answered(page, { count: 1 });
    await asked(page).last().hover();
    await asked(page)
      .last()
      .getByRole("button", { name: named("Edit", "编辑") })
      .click();
    await page.locator("article textarea").fill("/sim tokens=400 pace_ms=1 number");
    await page.locator("article textarea").press("Enter");
    await page.getByText("2/2").waitFor();
    await answered(page, { count: 1 });
    await asked(page).last().hover();
  },
  "above the end": async (page) => {
    await page.getByRole("log").hover();
    await page.mouse.wheel(0, -600);
    await button(page, "Jump to latest", "跳到最新").waitFor();
  },
  settings: async (page) => {
    await button(page, "Settings", "设置").click();
    await page.getByRole("dialog").waitFor();
  },
  answering: async (page) => {
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    await say(page, counting(4000, 20));
    await grown(page, 20);
    await page.locator("#composer").fill("a word");
  },
  "the connection lost": async (page, stack) => {
    stack.proxy.refuse(true);
    await page.getByTestId("connection").getByRole("button").waitFor();
  },
};

for (const [width, look] of Object.entries(WIDTHS)) {
  for (const locale of ["en-US", "zh-CN"]) {
    test(`layout: nothing overlaps at ${width} px, ${locale}`, {
      timeout: 90_000,
      allow: NETWORK,
    }, async (t) => {
      const stack = await t.stack({ demo: true, nginx: false });
      const page = await t.page(stack, { ...look, locale });
      await open(page, stack);
      for (const [name, reach] of Object.entries(STATES)) {
        await reach(page, stack);
        let found;
        // What moves or fades comes to rest first.
        await until(
          "it is at rest",
          async () => {
            found = await page.evaluate(faultsOf);
            return found.faults.length === 0;
          },
          1500,
        ).catch(() => {});
        assert.deepEqual(found.faults, [], `${name}, ${width} px, ${locale}`);
        assert.ok(found.controls >= 2, `${name}: ${found.controls} controls`);
      }
    });
  }
}

test("layout: the greeting begins below the header in a small window", {}, async (t) => {
  const stack = await t.stack({ demo: true, nginx: false });
  const page = await t.page(stack, WIDTHS[320]);
  await open(page, stack);
  const top = await page.getByRole("heading", { level: 2 }).first().boundingBox();
  const header = await page.locator("header").first().boundingBox();
  assert.ok(
    top.y >= header.y + header.height,
    `the greeting at ${top.y}, the header ends at ${header.y + header.height}`,
  );
});

test("layout: a switch of versions stands beside its bubble", {}, async (t) => {
  for (const look of Object.values(WIDTHS)) {
    const stack = await t.stack({ demo: true, nginx: false });
    const page = await t.page(stack, look);
    await open(page, stack);
    await say(page, "/sim tokens=3 pace_ms=0");
    await answered(page, { count: 1 });
    await asked(page).hover();
    await asked(page).getByRole("button", { name: "Edit" }).click();
    await page.locator("article textarea").fill("/sim tokens=4 pace_ms=0");
    await page.locator("article textarea").press("Enter");
    const next = await asked(page).getByRole("button", { name: "Next version" }).boundingBox();
    const bubble = await asked(page).locator('[data-part="text"]').boundingBox();
    const beside = bubble.x - (next.x + next.width);
    const below = bubble.x + bubble.width - (next.x + next.width);
    assert.ok(
      (beside >= 0 && beside < 24) || (next.y >= bubble.y + bubble.height && Math.abs(below) < 24),
      `${look.viewport.width} px: ${JSON.stringify({ next, bubble })}`,
    );
  }
});

test("layout: the way to the end is offered only when something is below", {}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack);
  await open(page, stack);
  await say(page, "/sim tokens=3 pace_ms=0");
  await answered(page);
  const latest = button(page, "Jump to latest", "跳到最新");
  await page.getByRole("log").hover();
  await page.mouse.wheel(0, -300);
  await page.locator('[data-part="text"]').last().dblclick();
  // Two frames later it would be there.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  assert.equal(await latest.count(), 0, "all of it is in view");
  await say(page, "/sim tokens=900 pace_ms=0");
  await answered(page, { count: 2 });
  assert.equal(await latest.count(), 0, "it is at the end");
  await page.mouse.wheel(0, -600);
  await latest.click();
  await latest.waitFor({ state: "detached" });
});
