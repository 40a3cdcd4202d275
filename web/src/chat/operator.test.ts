/** What the operator says is text and harmless addresses, and is there again before the gateway answers. */
import { beforeEach, expect, test } from "vitest";
import { keepOperator, keptOperator, readOperator } from "./operator";
import { readConfig } from "./page-config";

const NOTHING = { title: "", notice: "", links: [] };
const link = (url: unknown, label: unknown = "Help") => readOperator({ links: [{ label, url }] }).links;

beforeEach(() => localStorage.clear());

test("links lead to the web or to a mailbox, and nowhere else", () => {
  expect(link("https://help.example.com")).toEqual([{ label: "Help", url: "https://help.example.com/" }]);
  expect(link("mailto:ops@example.com")).toHaveLength(1);
  for (const url of [
    "javascript:alert(1)",
    " JaVaScRiPt:alert(1)",
    "data:text/html,x",
    "/help",
    "",
    7,
    null,
  ]) {
    expect(link(url)).toEqual([]);
  }
  expect(link("https://a.example", "")).toEqual([]);
  expect(
    readOperator({ links: Array(20).fill({ label: "a", url: "https://a.example" }) }).links,
  ).toHaveLength(8);
});

test("odd answers of a gateway say nothing", () => {
  for (const odd of [null, 7, "x", [], { title: 7, notice: {}, links: "x" }, { links: [null, 7, {}] }]) {
    expect(readOperator(odd)).toEqual(NOTHING);
  }
  expect(readOperator({ title: "x".repeat(500) }).title).toHaveLength(120);
  expect(readConfig({ page: { build: "b", title: " Harbour chat " } }).operator.title).toBe("Harbour chat");
});

test("the last operator is known at the next visit", () => {
  expect(keptOperator()).toEqual(NOTHING);
  const operator = readOperator({
    title: "Harbour chat",
    notice: "n",
    links: [{ label: "a", url: "https://a.example/" }],
  });
  keepOperator(operator);
  expect(keptOperator()).toEqual(operator);
  localStorage.setItem("tidegate.operator", "{");
  expect(keptOperator()).toEqual(NOTHING);
});
