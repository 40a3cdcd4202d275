/** Escape closes the one thing that is open; a running answer is stopped by a press that closes nothing. */
import assert from "node:assert/strict";
import { answered, answers, asked, composer, grown, open, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { cdp } from "../harness/chromium.mjs";
import { counting } from "../harness/prompts.mjs";
import { test } from "../harness/registry.mjs";

const focused = (page, locator) => until("the focus", () => locator.and(page.locator(":focus")).count());

async function openMenu(page) {
  await page.getByRole("navigation", { name: "Conversations" }).getByRole("listitem").first().hover();
  await page.getByRole("button", { name: /^More for/ }).click();
  await page.getByRole("button", { name: "Rename" }).waitFor();
}

async function openEditor(page) {
  await asked(page).last().hover();
  await asked(page).last().getByRole("button", { name: "Edit" }).click();
  await focused(page, page.locator("article textarea"));
}

const search = (page) => page.getByRole("searchbox", { name: "Search conversations" });

/** How each layer is opened, and what is gone when Escape has closed it. */
const LAYERS = {
  "the menu of a conversation": {
    enter: openMenu,
    isClosed: async (page) => (await page.locator("[popover]:popover-open").count()) === 0,
  },
  "the menu, with the focus elsewhere": {
    enter: async (page) => {
      await openMenu(page);
      await composer(page).evaluate((field) => field.focus());
    },
    isClosed: async (page) => (await page.locator("[popover]:popover-open").count()) === 0,
  },
  "the settings": {
    enter: async (page) => {
      await page.getByRole("button", { name: "Settings" }).first().click();
      await page.getByRole("dialog").waitFor();
    },
    isClosed: async (page) => (await page.getByRole("dialog").count()) === 0,
  },
  "the sheet of shortcuts": {
    enter: async (page) => {
      await page.getByRole("button", { name: "Keyboard shortcuts" }).first().click();
      await page.getByRole("dialog").waitFor();
    },
    isClosed: async (page) => (await page.getByRole("dialog").count()) === 0,
  },
  "a search": {
    enter: (page) => search(page).fill("tide"),
    isClosed: async (page) => (await search(page).inputValue()) === "",
  },
  "an empty search": { enter: (page) => search(page).focus(), isClosed: async () => true },
  "a new name": {
    enter: async (page) => {
      await openMenu(page);
      await page.getByRole("button", { name: "Rename" }).click();
      await page.getByRole("textbox", { name: "New name" }).fill("not this");
    },
    isClosed: async (page) =>
      (await page.getByRole("textbox", { name: "New name" }).count()) === 0 &&
      (await page.getByText("not this").count()) === 0,
  },
  "an edit": {
    enter: openEditor,
    isClosed: async (page) => (await page.locator("article textarea").count()) === 0,
  },
  "an edit, with the focus on its button": {
    enter: async (page) => {
      await openEditor(page);
      await asked(page).last().getByRole("button", { name: "Cancel" }).focus();
    },
    isClosed: async (page) => (await page.locator("article textarea").count()) === 0,
  },
  "a word of an input method": {
    enter: async (page) => {
      const session = await cdp(page);
      await composer(page).focus();
      await session.send("Input.imeSetComposition", { text: "ni hao", selectionStart: 6, selectionEnd: 6 });
    },
    /** As an input method has it: the key is its own, and the word is dropped. */
    press: async (page) => {
      const session = await cdp(page);
      const key = { key: "Escape", code: "Escape", windowsVirtualKeyCode: 229, nativeVirtualKeyCode: 27 };
      await session.send("Input.dispatchKeyEvent", { type: "rawKeyDown", ...key });
      await session.send("Input.imeSetComposition", { text: "", selectionStart: 0, selectionEnd: 0 });
      await session.send("Input.dispatchKeyEvent", { type: "keyUp", ...key, windowsVirtualKeyCode: 27 });
    },
    isClosed: async (page) => (await composer(page).inputValue()) === "",
  },
};

const outcome = (page) => answers(page).last().getAttribute("data-outcome");

async function closes(page, name, { enter, isClosed, press = () => page.keyboard.press("Escape") }) {
  await enter(page);
  await press(page);
  await until(`${name} is closed`, () => isClosed(page));
  assert.equal(await outcome(page), "streaming", `${name}: the answer goes on`);
}

test("Escape closes a layer and does nothing else", { goal: "G12", timeout: 90_000 }, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack);
  await open(page, stack);
  await say(page, counting(9000, 10));
  await grown(page, 50);
  for (const [name, layer] of Object.entries(LAYERS)) await closes(page, name, layer);
  // A key that is still held when the layer is gone.
  await openMenu(page);
  await page.keyboard.down("Escape");
  await page.keyboard.down("Escape");
  await page.keyboard.up("Escape");
  assert.equal(await outcome(page), "streaming", "held: the answer goes on");
  // With nothing open it stops, from the page and from the message box alike.
  await page.getByRole("log").focus();
  await page.keyboard.press("Escape");
  await answered(page, { outcome: "stopped" });
  await say(page, counting(9000, 10));
  await grown(page, 50);
  await composer(page).focus();
  await page.keyboard.press("Escape");
  await until("the second is stopped", async () => (await outcome(page)) === "stopped");
});

test("Escape closes the list that covers a phone, and does nothing else", { goal: "G12" }, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack, { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  await open(page, stack);
  await say(page, counting(9000, 10));
  await grown(page, 50);
  const list = page.getByRole("complementary", { name: "Conversations" });
  const show = () => page.getByRole("button", { name: "Show conversations" }).click();
  await show();
  await closes(page, "a search over the list", {
    enter: () => search(page).fill("tide"),
    isClosed: async () => (await search(page).inputValue()) === "" && (await list.isVisible()),
  });
  await closes(page, "the list", {
    enter: () => search(page).focus(),
    isClosed: async () => !(await list.isVisible()),
  });
  await closes(page, "the menu over the list", {
    enter: async () => {
      await show();
      await openMenu(page);
    },
    isClosed: async () =>
      (await page.locator("[popover]:popover-open").count()) === 0 && (await list.isVisible()),
  });
  await closes(page, "the list, with the focus nowhere", {
    enter: () => page.evaluate(() => document.activeElement?.blur()),
    isClosed: async () => !(await list.isVisible()),
  });
});
