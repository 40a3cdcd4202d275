/** While an answer is written, what is seen of it is the beginning of what will be seen: no mark that will not stay. */
import { expect, test } from "vitest";
import { answers, pieces, RAW } from "../testing/answers";
import { CASES } from "../testing/markdown-cases";
import { TABLES } from "../testing/tables";
import type { Token } from "./parser";
import { type Split, Splitter } from "./splitter";

const FORMULA = "∎";
const CODE = "▣";

/** The text of tokens as it is drawn; formulas and code have a sign each. */
function textOf(tokens: Token[]): string {
  return tokens
    .map(({ type, content, children, nesting, meta }) => {
      if (type.startsWith("math_")) return FORMULA;
      if (type === "code_inline" || type === "fence" || type === "code_block") return `${CODE}${content}▢`;
      if (type === "image" || type === "image_open") return `Image: ${children ? textOf(children) : content}`;
      if (type === "note_reference") return String(meta?.number);
      if (children) return textOf(children);
      return nesting === 0 ? content : "\n";
    })
    .join("");
}

/** The text itself and, apart from it, its footnotes. */
function seen({ blocks, tail }: Split): { text: string; notes: string } {
  const all = [...blocks, ...(tail ? [tail] : [])];
  let isNote = false;
  const parts: { text: Token[]; notes: Token[] } = { text: [], notes: [] };
  for (const token of all.flatMap(({ tokens }) => tokens)) {
    if (token.type === "note_open") isNote = true;
    parts[isNote ? "notes" : "text"].push(token);
    if (token.type === "note_close") isNote = false;
  }
  return { text: textOf(parts.text), notes: textOf(parts.notes) };
}

/** Code shows what it is, and a box is drawn for the brackets of a task. */
const withoutCode = (text: string): string => text.replace(/▣[^▢]*▢/g, CODE).replace(/^\[[ xX]\]\s/gm, "☐");
/** Brackets that turn out to be none of a link appear when that is known; an amount may turn out to be a formula. */
const bare = (text: string): string => text.replace(/[\s[\]▢]+/g, "");
const withoutAmount = (text: string): string => text.replace(/\$\d[\d.,]*$/, "");

/** What each beginning of a text shows. */
function* beginnings(text: string): Generator<{ written: string; split: Split }> {
  const splitter = new Splitter();
  for (let to = 1; to <= text.length; to += 1) {
    const written = text.slice(0, to);
    yield { written, split: splitter.update(written, false) };
  }
}

function firstDifference(text: string): string | null {
  const final = seen(new Splitter().update(text, true));
  for (const { written, split } of beginnings(text)) {
    const now = seen(split);
    for (const part of ["text", "notes"] as const) {
      if (!bare(final[part]).startsWith(withoutAmount(bare(now[part]))))
        return `${JSON.stringify(written)} shows ${JSON.stringify(now[part])}`;
    }
  }
  return null;
}

/** Constructs that cannot be recognized from their beginning, and are shown as written until then. */
const EXCEPTIONS: Record<string, string> = {
  "a table without bars at the ends of its lines": "a | b\n--|--\n1 | 2\n3\ntext",
  "a bar in code in a table, which ends the cell": "| a |\n| :-: |\n| `x|y` |",
  "code that is never closed": "`code` ``a ` b`` `open",
  "a reference whose definition comes later": "[x]\n\n[x]: https://example.org",
  "a reference of two labels whose definition comes later":
    "[x][y] and [y]\n\ntext\n\n[y]: https://example.org 'title'\n\n[y]",
  "a bracket that names no footnote": "x[^a-z] and [^9]\n\nno notes here",
  "a footnote that is not defined where it could be": "> [^q]: in a quote[^q]\n\n- [^l]: in a list",
  "maths that is never closed": "$$ a\n\nnever closed\n\n- list",
  "two heads of a table": "| a |\n| b |\n| - |\n| c |",
  "the head of a table without one": "text\n| a | b |\n| - | - |\n| 1 |\n\n| only | a head |",
  "marks that are never closed": "a * b ** c __ d ~~ e ` f $ g [ h ! i ![ j <k &l \\m",
  "the label of a definition": "[a]: <https://example.org>\n[b]: https://example.com\n\n[a] [b]",
};
const excepted = Object.values(EXCEPTIONS);

test.each(
  [...CASES, ...TABLES, ...pieces].filter((text) => !excepted.includes(text)),
)("%j is seen as it will be", (text) => {
  expect(firstDifference(text)).toBe(null);
});

test.each(Object.entries(EXCEPTIONS))("%s is an exception", (_name, text) => {
  expect(CASES).toContain(text);
  expect(firstDifference(text)).not.toBe(null);
});

test("no beginning of an answer shows its marks", () => {
  for (const text of answers(20)) {
    expect(firstDifference(text)).toBe(null);
    for (const { written, split } of beginnings(text)) {
      const shown = withoutCode(seen(split).text);
      const raw = RAW.find((marks) => marks.test(shown));
      expect(raw, `${JSON.stringify(written)} shows ${JSON.stringify(shown.slice(-80))}`).toBe(undefined);
    }
  }
}, 60_000);

test("what was shown is not taken back", () => {
  for (const text of pieces) {
    let longest = 0;
    for (const { written, split } of beginnings(text)) {
      // While a formula is written, its sign stands for it; before, it may have been an amount.
      const { length } = withoutAmount(bare(withoutCode(seen(split).text)));
      expect(length, JSON.stringify(written)).toBeGreaterThanOrEqual(longest);
      longest = length;
    }
  }
}, 60_000);

test.each([
  ["| Port | High wat", "PortHighwat"],
  ["| Port | High water |\n|--", "PortHighwater"],
  ["> | Port |", "Port"],
  ["text\n\n##", "text"],
  ["text\n--", "text"],
  ["some **bold te", "someboldte"],
  ["some **bold *both", "someboldboth"],
  ["a [link](https://exam", "alink"],
  ["a [link](https://example.org 'ti", "alink"],
  ["![the moon](https://exam", "Image:themoon"],
  ["see <https://exam", "seehttps://exam"],
  ["so $$\\int_0", "so∎"],
  ["$$\nE = mc", "∎"],
  ["\\[\nE = mc", "∎"],
  ["so $a^2 +", "so∎"],
  ["costs $5 and $", "costs$5and"],
  ["a note[^la", "anote"],
  ["- [x", ""],
  ["<details>\n<summ", ""],
  ["<details>\n<summary>Why", "Why"],
  ["5*3 is 15", "5*3is15"],
  ["list[0] and x", "list0andx"],
  ["__init", "init"],
  ["Q&A", "Q&A"],
  ["a < b", "a<b"],
  ["Hello! ", "Hello!"],
])("%j shows %j", (text, shown) => {
  expect(bare(seen(new Splitter().update(text, false)).text)).toBe(shown);
});

test("money stays prose, also while it is written", () => {
  const text = "It costs $5 and $6, US$1,000 or $20/month; $2.5M in all.";
  for (const { written, split } of beginnings(text)) {
    expect(seen(split).text.trim()).toBe(written.replace(/\$$/, "").trim());
  }
});
