/** What a cell's text asks of its width. */
import { expect, test } from "vitest";
import { compounds, fitOf, WORD_MAX } from "./cell";

test("a cell is as wide as its text needs to be read", () => {
  expect(fitOf("")).toBe(undefined);
  expect(fitOf("Reconnect")).toBe(undefined);
  expect(fitOf("上海")).toBe("short");
  expect(fitOf("3.2 米")).toBe("short");
  expect(fitOf("从最后显示的字继续")).toBe("cjk");
  expect(fitOf("从最后显示的字继续，不重复也不遗漏，不论网络断开多少次都一样。")).toBe("long");
  expect(fitOf("Resumes at the last word that was shown, in every tab")).toBe("long");
  expect(fitOf("a".repeat(WORD_MAX + 1))).toBe("endless");
});

test("words with hyphens, slashes and the like are kept whole, others are left to the browser", () => {
  expect(compounds("plain words, nothing else.")).toEqual(["plain words, nothing else."]);
  expect(compounds("a real-time read/write path")).toEqual(["a ", "real-time", " ", "read/write", " path"]);
  expect(compounds("a - b -- c")).toEqual(["a - b -- c"]);
  expect(compounds("断线-重连")).toEqual(["断线-重连"]);
  const long = `${"a".repeat(WORD_MAX)}-b`;
  expect(compounds(long)).toEqual([long]);
});
