/** Accessibility: axe finds nothing in any state, keys reach everything, and a screen reader announces what happens: G12. */
import assert from "node:assert/strict";
import { AxeBuilder } from "@axe-core/playwright";
import { answered, articles, asked, composer, grown, open, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { counting, RICH, rich, simText } from "../harness/prompts.mjs";
import { NETWORK, test } from "../harness/registry.mjs";

async function axe(page, where) {
  const { violations } = await new AxeBuilder({ page }).setLegacyMode(true).analyze();
  const text = violations.map(
    (one) =>
      `${one.id}: ${one.nodes
        .slice(0, 3)
        .map((node) => `${node.target} ${node.failureSummary}`)
        .join(" | ")}`,
  );
  assert.deepEqual(text, [], where);
}

/** All that a person may have before them. */
const STATES = {
  empty: async () => {},
  answered: async (page) => {
    await say(page, `${simText(RICH)} think=20`);
    await answered(page);
    await page.waitForFunction(() => document.querySelector('article[data-role="assistant"] pre'));
  },
  streaming: async (page) => {
    await say(page, `${rich(3000, 2)} stall_after=500`);
    await grown(page, 1200);
  },
  maths: async (page) => {
    await say(
      page,
      simText(
        "Euler: \\(e^{i\\pi}+1=0\\), and\n\n\\[\\int_0^1 x^2\\,dx = \\frac13\\]\n\n- [x] done\n- [ ] open",
      ),
    );
    await answered(page);
  },
  failed: async (page) => {
    await say(page, "/sim status=429 code=Throttling.RateQuota");
    await answered(page, { outcome: "failed" });
    await page.getByText("Details").click();
  },
  editing: async (page) => {
    await say(page, "hello");
    await answered(page);
    await asked(page).first().hover();
    await asked(page).first().getByRole("button", { name: "Edit" }).click();
  },
  branches: async (page) => {
    await say(page, "hello");
    await answered(page);
    await page.getByRole("button", { name: "Regenerate" }).click();
    await page.getByText("2/2").waitFor();
    await answered(page);
  },
  settings: async (page) => {
    await page.getByRole("button", { name: "Settings" }).first().click();
    await page.getByRole("dialog").waitFor();
  },
  shortcuts: async (page) => {
    await page.getByRole("button", { name: "Keyboard shortcuts" }).first().click();
    await page.getByRole("dialog").waitFor();
  },
  searching: async (page) => {
    await say(page, "hello");
    await answered(page);
    const search = page.getByRole("searchbox", { name: "Search conversations" });
    if (await search.isVisible()) await search.fill("hello");
  },
  offline: async (page, stack) => {
    await say(page, "hello");
    await answered(page);
    await page.context().setOffline(true);
    stack.proxy.refuse(true);
    await page
      .getByTestId("connection")
      .filter({ hasText: /offline/i })
      .waitFor();
    await say(page, "later");
  },
};

/** `schemes`: the colours in which each state is checked, one after the other on the same page. */
const LOOKS = {
  "light and dark": { schemes: ["light", "dark"] },
  phone: { schemes: ["light"], viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true },
  // 200 % on a window of 1280 pixels is a window of 640.
  zoomed: { schemes: ["dark"], viewport: { width: 640, height: 360 }, deviceScaleFactor: 2 },
};

/** What looks differ in on a small window. */
const SMALL = new Set(["empty", "answered", "branches", "settings", "offline"]);

/** What fades in has faded in; what blinks goes on blinking. */
const faded = (page) =>
  page.evaluate(async () => {
    const ending = document
      .getAnimations()
      .filter((one) => Number.isFinite(one.effect.getComputedTiming().endTime));
    await Promise.all(ending.map((one) => one.finished.catch(() => {})));
  });

for (const [look, { schemes, ...options }] of Object.entries(LOOKS)) {
  test(`axe: ${look}`, { goal: "G12", seconds: 35, timeout: 120_000, allow: NETWORK }, async (t) => {
    const stack = await t.stack({ nginx: false, pace: 1 });
    const states = Object.entries(STATES).filter(([name]) => t.goals || !options.viewport || SMALL.has(name));
    const context = await t.context(stack, options);
    for (const [name, reach] of states) {
      const page = await context.newPage();
      await page.emulateMedia({ colorScheme: schemes[0] });
      await open(page, stack);
      await reach(page, stack);
      for (const colorScheme of schemes) {
        await page.emulateMedia({ colorScheme });
        await page.locator(`html[data-theme="${colorScheme}"]`).waitFor();
        await faded(page);
        await axe(page, `${name}, ${look}, ${colorScheme}`);
        const wide = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        assert.ok(wide <= 0, `${name}, ${look}, ${colorScheme}: ${wide} pixels too wide`);
      }
      stack.proxy.refuse(false);
      await page.close();
    }
    t.figure({ case: look, states: states.length * schemes.length, violations: 0 });
  });
}

/** Goes by Tab until what has the focus is called so. */
async function tabTo(page, role, name, key = "Tab") {
  for (let k = 0; k < 60; k++) {
    const here = page.getByRole(role, { name }).and(page.locator(":focus"));
    if (await here.count()) return;
    await page.keyboard.press(key);
  }
  throw new Error(`no way by ${key} to ${role} ${name}`);
}

test("everything by keys alone", { goal: "G12", timeout: 90_000 }, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  await open(page, stack);
  const type = (text) => page.keyboard.type(text);
  await until("the composer has the focus", () => composer(page).and(page.locator(":focus")).count());
  await type("hello");
  await page.keyboard.press("Shift+Enter");
  await type("there");
  await page.keyboard.press("Enter");
  await answered(page);
  assert.match(await asked(page).first().textContent(), /hello\s*there/);
  // Stop by Escape, with the focus where it was.
  await type(counting(2000, 10));
  await page.keyboard.press("Enter");
  await grown(page, 50);
  await page.keyboard.press("Escape");
  await answered(page, { outcome: "stopped" });
  // Regenerate, and back to the first version.
  await tabTo(page, "button", "Regenerate", "Shift+Tab");
  await page.keyboard.press("Enter");
  await page.locator('article[data-outcome="streaming"]').waitFor();
  await page.keyboard.press("Escape");
  await page.getByText("2/2").waitFor();
  await tabTo(page, "button", "Previous version", "Shift+Tab");
  await page.keyboard.press("Enter");
  await page.getByText("1/2").waitFor();
  // Edit the first message.
  await tabTo(page, "button", "Edit", "Shift+Tab");
  await page.keyboard.press("Enter");
  await until("a field to edit in", () => page.locator("article textarea:focus").count());
  await page.keyboard.press("Control+A");
  await type("hello again");
  await page.keyboard.press("Enter");
  await until("the edited message", async () =>
    /hello again/.test((await asked(page).last().textContent()) ?? ""),
  );
  await answered(page);
  // Dialogs: opened, left by Escape, and the focus is back.
  for (const name of ["Settings", "Keyboard shortcuts"]) {
    await tabTo(page, "button", name, "Shift+Tab");
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    await until("the focus is back", () =>
      page.getByRole("button", { name }).and(page.locator(":focus")).count(),
    );
  }
  // The list: search, rename, delete, undo.
  await tabTo(page, "searchbox", "Search conversations", "Shift+Tab");
  await type("hello");
  await until("a hit", () =>
    page.getByRole("navigation", { name: "Conversations" }).getByText(/hello/).count(),
  );
  await page.keyboard.press("Control+A");
  await page.keyboard.press("Delete");
  await tabTo(page, "button", /^More for/);
  await page.keyboard.press("Enter");
  await tabTo(page, "button", "Rename");
  await page.keyboard.press("Enter");
  await type("by keys alone");
  await page.keyboard.press("Enter");
  await page.getByRole("navigation", { name: "Conversations" }).getByText("by keys alone").waitFor();
  await tabTo(page, "button", /^More for/);
  await page.keyboard.press("Enter");
  await tabTo(page, "button", "Delete");
  await page.keyboard.press("Enter");
  await page.getByText(/was deleted/).waitFor();
  await tabTo(page, "button", "Undo");
  await page.keyboard.press("Enter");
  await page.getByRole("navigation", { name: "Conversations" }).getByText("by keys alone").waitFor();
  assert.ok((await articles(page).count()) > 0, "and it is shown again");
  await tabTo(page, "button", "New chat");
  await page.keyboard.press("Enter");
  await until("the composer has the focus", () => composer(page).and(page.locator(":focus")).count());
});

test("a screen reader hears the beginning and the end, and no words between", {
  seconds: 10,
  goal: "G12",
  timeout: 60_000,
}, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  await open(page, stack);
  const announced = await page.evaluateHandle(() => {
    const announced = [];
    const began = performance.now();
    for (const region of document.querySelectorAll("[aria-live], [role=status], [role=alert]")) {
      if (region.getAttribute("aria-live") === "off") continue;
      new MutationObserver(() => {
        const text = region.textContent.trim();
        if (text && announced.at(-1)?.text !== text) announced.push({ at: performance.now() - began, text });
      }).observe(region, { childList: true, subtree: true, characterData: true });
    }
    return announced;
  });
  assert.equal(await page.getByRole("log").getAttribute("aria-live"), "off");
  await say(page, counting(800, 10));
  await answered(page);
  await until("the end is announced", async () =>
    (await announced.jsonValue()).some((one) => /complete/.test(one.text)),
  );
  const all = await announced.jsonValue();
  assert.ok(
    all.every((one) => !/#\d+ /.test(one.text)),
    "no words of the answer",
  );
  const seconds = all.at(-1).at / 1000;
  assert.ok(
    all.length <= 3 + seconds / 5,
    `${all.length} announcements in ${seconds} s: ${all.map((one) => one.text)}`,
  );
  t.figure({ case: "announcements", announced: all.length, seconds: Math.round(seconds) });
});

test("less motion for those who want less", { goal: "G12" }, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack, { reducedMotion: "reduce" });
  await open(page, stack);
  await say(page, rich(400, 5));
  await grown(page, 200);
  const moving = await page.evaluate(() =>
    document
      .getAnimations()
      .filter((one) => one.playState === "running" && one.effect.getTiming().duration > 20)
      .map((one) => one.animationName ?? one.transitionProperty),
  );
  assert.deepEqual(moving, []);
});
