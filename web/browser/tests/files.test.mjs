/** A file that is pasted or dropped does not take the page away, and is answered with a sentence; text is pasted as ever. */
import assert from "node:assert/strict";
import { composer, open } from "../harness/chat.mjs";
import { test } from "../harness/registry.mjs";

/** Whether the browser's own way was prevented. */
const give = (page, type, kind) =>
  page.evaluate(
    ([type, kind]) => {
      const data = new DataTransfer();
      data.items.add(new File(["x"], "tides.pdf", { type: "application/pdf" }));
      const field = document.querySelector("#composer");
      const options = { bubbles: true, cancelable: true };
      const event =
        kind === "paste"
          ? new ClipboardEvent(type, { ...options, clipboardData: data })
          : new DragEvent(type, { ...options, dataTransfer: data });
      return !field.dispatchEvent(event);
    },
    [type, kind],
  );

for (const [locale, sentence] of [
  ["en-US", "cannot take files or pictures yet"],
  ["zh-CN", "还不能接收文件和图片"],
]) {
  test(`files are refused in words, ${locale}`, {}, async (t) => {
    const stack = await t.stack({ nginx: false });
    const page = await t.page(stack, { locale, permissions: ["clipboard-read", "clipboard-write"] });
    await open(page, stack);
    const note = page.getByText(sentence);
    await give(page, "paste", "paste");
    await note.waitFor();
    await page.reload();
    await page.waitForSelector("html[data-ready]");
    assert.equal(await note.count(), 0);
    assert.equal(await give(page, "dragover", "drag"), true, "the file would have opened");
    assert.equal(await give(page, "drop", "drag"), true, "the file would have opened");
    await note.waitFor();
    await page.evaluate(() => navigator.clipboard.writeText("two lines\nof text"));
    await composer(page).focus();
    await page.keyboard.press("Control+V");
    assert.equal(await composer(page).inputValue(), "two lines\nof text");
  });
}
