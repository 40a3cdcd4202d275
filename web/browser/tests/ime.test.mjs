/** Enter that belongs to an input method never sends: G13. */
import assert from "node:assert/strict";
import { asked, composer, open } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { cdp } from "../harness/chromium.mjs";
import { test } from "../harness/registry.mjs";

const ENTER = { key: "Enter", code: "Enter", windowsVirtualKeyCode: 229, nativeVirtualKeyCode: 13 };

/** What each method shows while one types, and what it leaves behind. The last Enter takes the word. */
const SCRIPTS = {
  pinyin: { steps: ["n", "ni", "ni h", "ni ha", "ni hao"], commit: "你好" },
  zhuyin: { steps: ["ㄋ", "ㄋㄧ", "ㄋㄧˇ", "你", "你ㄏ", "你ㄏㄠˇ", "你好"], commit: "你好" },
  japanese: { steps: ["k", "か", "かn", "かん", "かんj", "かんじ", "漢字", "感じ", "漢字"], commit: "漢字" },
  korean: { steps: ["ㅎ", "하", "한"], commit: "한" },
};

async function key(session, type, more) {
  await session.send("Input.dispatchKeyEvent", { type, ...more });
}

async function compose(session, { steps, commit }) {
  for (const text of steps) {
    await key(session, "rawKeyDown", { key: "Process", code: "KeyA", windowsVirtualKeyCode: 229 });
    await session.send("Input.imeSetComposition", {
      text,
      selectionStart: text.length,
      selectionEnd: text.length,
    });
    await key(session, "keyUp", { key: "a", code: "KeyA", windowsVirtualKeyCode: 65 });
  }
  await key(session, "rawKeyDown", ENTER);
  await session.send("Input.insertText", { text: commit });
  await key(session, "keyUp", { ...ENTER, windowsVirtualKeyCode: 13 });
}

for (const [name, script] of Object.entries(SCRIPTS)) {
  test(`input method: ${name}`, { goal: "G13" }, async (t) => {
    const stack = await t.stack({ model: "sim-echo" });
    const page = await t.page(stack);
    await open(page, stack);
    const session = await cdp(page);
    await composer(page).focus();
    let written = "";
    for (let word = 0; word < 3; word++) {
      await compose(session, script);
      written += script.commit;
      assert.equal(await composer(page).inputValue(), written);
      assert.equal(await asked(page).count(), 0, "nothing was sent early");
    }
    await page.keyboard.press("Enter");
    await asked(page).first().waitFor();
    assert.equal(await composer(page).inputValue(), "");
    assert.match(await asked(page).first().textContent(), new RegExp(written));
  });
}

/** Synthetic events, for orders that Chromium itself never makes. */
const safari = (page, gapMs) =>
  composer(page).evaluate(async (field, gapMs) => {
    const send = (event) => field.dispatchEvent(event);
    field.focus();
    send(new CompositionEvent("compositionstart", { bubbles: true, data: "" }));
    field.setRangeText("你好", field.selectionStart, field.selectionEnd, "end");
    send(new InputEvent("input", { bubbles: true, data: "你好", inputType: "insertFromComposition" }));
    send(new CompositionEvent("compositionend", { bubbles: true, data: "你好" }));
    if (gapMs) await new Promise((resolve) => setTimeout(resolve, gapMs));
    const event = new KeyboardEvent("keydown", {
      key: "Enter",
      keyCode: 229,
      bubbles: true,
      cancelable: true,
    });
    send(event);
    return event.defaultPrevented;
  }, gapMs);

test("input method: Safari ends the composition before the key", { goal: "G13" }, async (t) => {
  const stack = await t.stack({ model: "sim-echo" });
  const page = await t.page(stack);
  await open(page, stack);
  await safari(page, 0);
  await page.evaluate(
    () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))),
  );
  assert.equal(await asked(page).count(), 0, "that Enter took the word");
  await page.waitForTimeout(150); // only the time distinguishes Safari's order from a real Enter.
  await page.keyboard.press("Enter");
  await asked(page).first().waitFor();
});

test("input method: an Enter that calls itself 229 much later does send", { goal: "G13" }, async (t) => {
  const stack = await t.stack({ model: "sim-echo" });
  const page = await t.page(stack);
  await open(page, stack);
  await safari(page, 300);
  await asked(page).first().waitFor();
});

test("input method: search and rename take no half word either", { goal: "G13" }, async (t) => {
  const stack = await t.stack({ model: "sim-echo" });
  const page = await t.page(stack);
  await open(page, stack);
  await composer(page).fill("first words");
  await page.keyboard.press("Enter");
  await page.locator('article[data-outcome="done"]').waitFor();
  const session = await cdp(page);
  const list = page.getByRole("navigation", { name: "Conversations" });
  await rename(page, list);
  const field = list.getByRole("textbox").or(page.getByRole("dialog").getByRole("textbox")).first();
  await field.waitFor();
  await field.fill("");
  await field.focus();
  await compose(session, SCRIPTS.pinyin);
  assert.equal(await field.inputValue(), "你好", "it is still being named");
  await page.keyboard.press("Enter");
  await until("the new name", () => list.getByText("你好", { exact: true }).count());
});

/** However the list offers it: a button of its own, or one in a menu. */
async function rename(page, list) {
  const item = list.getByRole("listitem").first();
  await item.hover();
  const direct = item.getByRole("button", { name: /Rename/ });
  if (!(await direct.count())) await item.getByRole("button", { name: /More|Options|Actions/ }).click();
  await page
    .getByRole("button", { name: /Rename/ })
    .or(page.getByRole("menuitem", { name: /Rename/ }))
    .first()
    .click();
}
