/** Cut anywhere, an answer looks at its end as if it had come in one piece, and what was final never changes. */
import { expect, test } from "vitest";
import { CASES } from "../testing/markdown-cases";
import { deltas, sample, seeded } from "../testing/sample";
import type { Token } from "./parser";
import { type Block, Splitter, TAIL_MAX } from "./splitter";

/** `SPLITS=100000 npx vitest run src/markdown` for more. */
const SPLITS = Number(process.env.SPLITS ?? 20_000);

/** What of a token is drawn. */
function essence(token: Token): unknown {
  const { type, tag, content, info, hidden, attrs, meta, children } = token;
  return [type, tag, type === "inline" ? "" : content, info, hidden, attrs, meta, children?.map(essence)];
}

const drawn = (blocks: Block[]): string =>
  JSON.stringify(
    blocks.flatMap(({ tokens, plain }) => (plain === undefined ? tokens.map(essence) : [plain])),
  );

function pieces(text: string, random: () => number): string[] {
  const cut: string[] = [];
  for (let at = 0; at < text.length; ) {
    const length = 1 + Math.floor(random() ** 2 * 12);
    cut.push(text.slice(at, at + length));
    at += length;
  }
  return cut;
}

test("incremental is one-shot", () => {
  const random = seeded(Number(process.env.SEED ?? 7));
  const texts = [...CASES];
  const whole = new Map(texts.map((text) => [text, drawn(new Splitter().update(text, true).blocks)]));
  for (let split = 0; split < SPLITS; split += 1) {
    const joined = Math.floor(random() * 4) === 0;
    const pick = () => texts[Math.floor(random() * texts.length)] as string;
    const text = joined ? `${pick()}\n\n${pick()}` : pick();
    const splitter = new Splitter();
    let written = "";
    let final = "";
    for (const piece of pieces(text, random)) {
      written += piece;
      const now = drawn(splitter.update(written, false).blocks).slice(0, -1);
      expect(now.startsWith(final) || final === "[", `final changed: ${JSON.stringify(written)}`).toBe(true);
      final = now;
    }
    const expected = whole.get(text) ?? drawn(new Splitter().update(text, true).blocks);
    const at = drawn(splitter.update(text, true).blocks);
    expect(at, JSON.stringify(text)).toBe(expected);
  }
}, 120_000);

test("a long answer costs no more at its end than at its beginning", () => {
  const text = sample(60_000);
  const all = deltas(text, seeded(3));
  const splitter = new Splitter();
  let written = "";
  const took: number[] = [];
  let began = performance.now();
  all.forEach((delta, index) => {
    written += delta;
    splitter.update(written, false);
    if (index % 500 === 499) {
      took.push(performance.now() - began);
      began = performance.now();
    }
  });
  const middle = (list: number[]) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] as number;
  const third = Math.floor(took.length / 3);
  const [first, last] = [middle(took.slice(1, third + 1)), middle(took.slice(-third))];
  expect(last).toBeLessThan(first * 3 + 5);
});

const HEAVY: Record<string, string> = {
  quotes: `${">".repeat(10_000)} deep`,
  "a line of a megabyte": "word ".repeat(200_000),
  brackets: "[".repeat(100_000),
  ticks: "`".repeat(100_000),
  stars: "*a ".repeat(40_000),
  pipes: `|${"a|".repeat(20_000)}\n|${"-|".repeat(20_000)}`,
  "a megabyte of bars": "|".repeat(1_000_000),
  "two thousand columns": `|${"a|".repeat(2_000)}\n|${"-|".repeat(2_000)}\n|${"b|".repeat(2_000)}`,
  "details in details": "<details>\n".repeat(5_000),
  footnotes: Array.from({ length: 2_000 }, (_, n) => `x[^${n}]\n\n[^${n}]: y`).join("\n\n"),
  "unclosed marks": "**a *b `c $d ~~e [f ![g ".repeat(800),
  "a formula of 100 KB": `$$\n${"x + ".repeat(25_000)}1\n$$`,
  prices: "costs $5 and $6, ".repeat(6_000),
  dollars: "$".repeat(100_000),
  backslashes: "\\(".repeat(50_000),
  "an open fence": `\`\`\`\n${"x\n".repeat(100_000)}`,
  "nested lists": Array.from(
    { length: 2_000 },
    (_, depth) => `${" ".repeat(Math.min(depth, 500) * 2)}- x`,
  ).join("\n"),
};

for (const [name, text] of Object.entries(HEAVY)) {
  // faults: J123
  test(`${name} does not stop the page`, () => {
    const splitter = new Splitter();
    let worst = 0;
    for (let share = 1; share <= 8; share += 1) {
      const began = performance.now();
      splitter.update(text.slice(0, (text.length * share) / 8), share === 8);
      worst = Math.max(worst, performance.now() - began);
    }
    expect(worst).toBeLessThan(2_000);
  });
}

test("a block that grows beyond bounds is shown as it is", () => {
  const splitter = new Splitter();
  const text = "x".repeat(TAIL_MAX + 1);
  expect(splitter.update(text, false).tail?.plain).toBe(text);
  expect(splitter.update(`${text}\n\nnext`, true).tail).toBe(null);
});

const LONG: Record<string, string> = {
  list: Array.from({ length: 900 }, (_, n) => `- **item** ${n} of a \`long\` list, with some words`).join(
    "\n",
  ),
  "loose list": Array.from(
    { length: 1200 },
    (_, n) => `${n + 1}. item ${n}\n\n   - **in it**, some words`,
  ).join("\n\n"),
  table: `| a | b |\n|---|---|\n${Array.from({ length: 1500 }, (_, n) => `| **row** ${n} | some more words |`).join("\n")}`,
};

for (const [name, text] of Object.entries(LONG)) {
  test(`a ${name} that grows beyond bounds is drawn all the time, and is one at its end`, () => {
    expect(text.length).toBeGreaterThan(TAIL_MAX * 2);
    const splitter = new Splitter();
    for (let to = 1; to < text.length; to += 211) {
      const { blocks, tail } = splitter.update(text.slice(0, to), false);
      const all = tail ? [...blocks, tail] : blocks;
      expect(all.find(({ plain }) => plain !== undefined)).toBe(undefined);
      expect(new Set(all.map(({ key }) => key)).size).toBe(all.length);
      // Every row and every item so far is there, once and in order; the last one is being written.
      const shown = all.flatMap(({ tokens }) => tokens.map(({ content }) => content)).join("\n");
      const rows = [...shown.matchAll(/(?:item|row)\** (\d+)/g)].map(([, n]) => Number(n)).slice(0, -1);
      expect(rows).toEqual(rows.map((_, n) => n));
      expect(rows.length).toBeGreaterThanOrEqual(text.slice(0, to).split(/item|row/).length - 3);
    }
    const whole = new Splitter().update(text, true).blocks;
    expect(drawn(splitter.update(text, true).blocks)).toBe(drawn(whole));
  });
}

test("a text that begins anew is drawn anew", () => {
  const splitter = new Splitter();
  splitter.update("one\n\ntwo\n\nthree", false);
  expect(drawn(splitter.update("another\n\none", true).blocks)).toBe(
    drawn(new Splitter().update("another\n\none", true).blocks),
  );
});

test("an answer that had ended and goes on looks as if it had come in one piece", () => {
  const random = seeded(11);
  for (const text of CASES) {
    const cut = Math.floor(random() * text.length);
    const splitter = new Splitter();
    splitter.update(text.slice(0, cut), true);
    // It waits, and then the rest comes.
    splitter.update(text.slice(0, cut), false);
    splitter.update(text.slice(0, Math.floor((cut + text.length) / 2)), false);
    expect(drawn(splitter.update(text, true).blocks)).toBe(drawn(new Splitter().update(text, true).blocks));
  }
});
