/** What of KaTeX's output browsers would not draw is put in other words. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import katex from "katex";
import { describe, expect, test } from "vitest";
import { toCore } from "./mathml-core";
import { lettersOf } from "./maths-letters";

function drawn(source: string): Element {
  const place = document.createElement("div");
  katex.render(source, place, { output: "mathml", displayMode: true, strict: false });
  toCore(place);
  place.querySelector("annotation")?.remove();
  return place;
}

const text = (source: string) => drawn(source).textContent;

describe("letters", () => {
  test.each([
    ["\\mathbb{R}^n", "ℝn"],
    ["\\mathbf{v}", "𝐯"],
    ["\\mathcal{L}", "ℒ"],
    ["\\mathfrak{gR}", "𝔤ℜ"],
    ["\\boldsymbol{\\alpha\\nabla}", "𝜶𝛁"],
    ["\\mathsf{x1}", "𝗑𝟣"],
    ["\\mathtt{t}", "𝚝"],
    ["\\textbf{ab}", "𝐚𝐛"],
    ["\\mathrm{d}x", "dx"],
  ])("%s is %s", (source, letters) => {
    expect(text(source)).toBe(letters);
  });

  test("every letter of every alphabet has a character of its own", () => {
    const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (const variant of ["bold", "italic", "script", "fraktur", "double-struck", "monospace"]) {
      const letters = Array.from(lettersOf(plain, variant));
      expect(new Set(letters).size).toBe(52);
      // Unicode knows which plain letter each of them is.
      expect(letters.map((letter) => letter.normalize("NFKC")).join("")).toBe(plain);
    }
  });
});

test("no attribute is left that MathML Core does not know", () => {
  const sources = [
    "\\mathbb R + \\mathbf{AB}",
    "\\stackrel{?}{=} \\underset{x}{\\min}",
    "\\xrightarrow[k]{n\\to\\infty}",
  ];
  for (const source of sources) {
    const place = drawn(source);
    expect(place.querySelectorAll('[mathvariant]:not([mathvariant="normal"])')).toHaveLength(0);
    expect(place.querySelectorAll("mo > *, mi > *, mn > *")).toHaveLength(0);
    expect(place.querySelectorAll('mpadded[width^="+"]')).toHaveLength(0);
  }
});

describe("a named function stands apart", () => {
  const spaces = (source: string) => drawn(source).querySelectorAll('mspace[width="0.1667em"]').length;
  test.each([
    ["\\sin x", 1],
    ["2\\sin x", 2],
    ["\\sin(x)", 0],
    ["a_i\\cos(x)", 1],
    ["2\\log_2 n", 2],
    ["\\lim_{x\\to 0} f", 1],
    ["\\log\\log n", 2],
    ["x = \\sin x", 1],
  ])("%s has %i thin spaces", (source, count) => {
    expect(spaces(source)).toBe(count);
  });
});

test("the cells of an equation are aligned and keep their gaps", () => {
  const cells = [...drawn("\\begin{aligned} a &= b \\\\ &= c \\end{aligned}").querySelectorAll("mtd")];
  expect(cells.map((cell) => cell.getAttribute("columnalign"))).toEqual(["right", "left", "right", "left"]);
});

test("a table has its lines", () => {
  const place = drawn("\\begin{array}{c|c} a & b \\\\ \\hline c & d \\end{array}");
  expect(place.querySelectorAll('mtd[columnline="solid"]')).toHaveLength(2);
  expect(place.querySelectorAll('mtd[rowline="solid"]')).toHaveLength(2);
});

test("bars of a fence stretch", () => {
  const bars = [...drawn("\\left| x \\right| \\left\\| y \\right\\|").querySelectorAll("mo[fence]")];
  expect(bars.map((bar) => bar.textContent)).toEqual(["|", "|", "‖", "‖"]);
  for (const bar of bars) expect(bar.getAttribute("stretchy")).toBe("true");
});

test("primes are not made small twice", () => {
  for (const source of ["f'(x)", "f''_n", "x^{f'}"]) {
    expect(drawn(source).querySelector('mstyle[scriptlevel="-1"] > mpadded[voffset]')?.textContent).toMatch(
      /^′+$/,
    );
  }
});

test("the font file is named for its content, and the styles name the file", () => {
  const assets = join(import.meta.dirname, "../../public/assets");
  const fonts = readdirSync(assets).filter((name) => name.endsWith(".woff2"));
  expect(fonts).toHaveLength(1);
  const bytes = readFileSync(join(assets, fonts[0] ?? ""));
  const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 8);
  expect(fonts[0]).toBe(`maths-${hash}.woff2`);
  expect(readFileSync(join(import.meta.dirname, "maths.css"), "utf8")).toContain(
    `/assets/maths-${hash}.woff2`,
  );
  expect(bytes.length).toBeLessThan(160 * 1024);
  expect(readFileSync(join(assets, "maths-LICENSE.txt"), "utf8")).toContain("SIL OPEN FONT LICENSE");
});
