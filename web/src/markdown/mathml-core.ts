/**
 * Converts KaTeX's MathML to MathML Core, which browsers render: it lacks `mathvariant`, the alignment, gaps and lines
 * of tables, and relative sizes of `mpadded`; maths.css styles what is only marked here.
 */
import { lettersOf } from "./maths-letters";

const APPLY_FUNCTION = "\u2061";
const THIN_SPACE = "0.1667em";
/** Elements whose first child is a base with its scripts. */
const SCRIPTED = new Set(["msub", "msup", "msubsup", "munder", "mover", "munderover"]);
/** Bars of a relation in KaTeX's output; those of a fence are other characters, which stretch. */
const BARS: Record<string, string> = { "∣": "|", "∥": "‖" };
/** Accents that stretch over what is below them, by the characters that the font has in several sizes. */
const WIDE_ACCENTS: Record<string, string> = { "^": "\u0302", "~": "\u02dc" };
/** An arrow as a base does not stretch in Chromium; the long ones have space for a label. */
const LONG_ARROWS: Record<string, string> = {
  "→": "⟶",
  "←": "⟵",
  "↔": "⟷",
  "⇒": "⟹",
  "⇐": "⟸",
  "⇔": "⟺",
  "↦": "⟼",
};
const PRIMES = /^′+$/;
/** The font's primes are already raised: as scripts they would be small, and too high. */
const PRIME_DROP = "-0.3em";
const PRIME_HEIGHT = "0.45em";
const LENGTH = /^\+?(\d*\.?\d+)(em|pt|px)$/;

function element(name: string, near: Element): Element {
  return near.ownerDocument.createElementNS(near.namespaceURI, name);
}

/** Set through the DOM, because the page's policy forbids `style` attributes. */
function setStyle(target: Element, property: string, value: string): void {
  if ("style" in target) (target as MathMLElement).style.setProperty(property, value);
}

function letters(root: Element): void {
  for (const token of root.querySelectorAll("[mathvariant]")) {
    const variant = token.getAttribute("mathvariant") ?? "";
    if (variant === "normal" || token.childElementCount > 0) continue;
    token.textContent = lettersOf(token.textContent ?? "", variant);
    token.removeAttribute("mathvariant");
  }
}

/** A token contains only text; KaTeX puts rows into it for the spacing of an operator. */
function rows(root: Element): void {
  for (const token of root.querySelectorAll("mo, mi, mn")) {
    if (token.childElementCount === 0) continue;
    const row = element("mrow", token);
    row.append(...token.childNodes);
    token.replaceWith(row);
  }
}

const needsSpace = (beside: Element | null, closing: RegExp | null): beside is Element => {
  if (!beside || beside.localName === "mspace" || beside.localName === "mtext") return false;
  return beside.localName !== "mo" || closing?.test(beside.textContent ?? "") === true;
};

/** `2 sin x`: a thin space on both sides of a named function, as TeX sets it. */
function functions(root: Element): void {
  for (const mark of root.querySelectorAll("mo")) {
    if (mark.textContent !== APPLY_FUNCTION) continue;
    const base = mark.parentElement;
    const outer = base?.localName === "mrow" ? base.parentElement : null;
    const isBase = outer !== null && SCRIPTED.has(outer.localName) && outer.firstElementChild === base;
    const first = isBase ? outer : (mark.previousElementSibling ?? mark);
    const last = isBase ? outer : mark;
    const space = element("mspace", mark);
    space.setAttribute("width", THIN_SPACE);
    if (needsSpace(first.previousElementSibling, /^[)\]}|!]$/)) first.before(space.cloneNode());
    if (needsSpace(last.nextElementSibling, null)) last.after(space);
  }
}

function fences(root: Element): void {
  for (const fence of root.querySelectorAll('mo[fence="true"]')) {
    const bar = BARS[fence.textContent ?? ""];
    if (bar === undefined) continue;
    fence.textContent = bar;
    fence.setAttribute("stretchy", "true");
    fence.setAttribute("symmetric", "true");
  }
}

function accents(root: Element): void {
  for (const accent of root.querySelectorAll('mover[accent="true"] > mo[stretchy="true"]')) {
    accent.textContent = WIDE_ACCENTS[accent.textContent ?? ""] ?? accent.textContent;
  }
}

function arrows(root: Element): void {
  for (const arrow of root.querySelectorAll("mo[minsize]:first-child")) {
    const long = LONG_ARROWS[arrow.textContent ?? ""];
    if (long === undefined || !SCRIPTED.has(arrow.parentElement?.localName ?? "")) continue;
    arrow.textContent = long;
    arrow.removeAttribute("minsize");
    // Otherwise the text is as far from it as a brace would need.
    arrow.setAttribute("stretchy", "false");
  }
}

function primes(root: Element): void {
  for (const script of root.querySelectorAll(":is(msup, msubsup) > :last-child")) {
    if (!PRIMES.test(script.textContent ?? "")) continue;
    const level = element("mstyle", script);
    level.setAttribute("scriptlevel", "-1");
    const padded = element("mpadded", script);
    padded.setAttribute("voffset", PRIME_DROP);
    padded.setAttribute("height", PRIME_HEIGHT);
    script.replaceWith(level);
    level.append(padded);
    padded.append(script);
  }
}

/** Values per column or line; the last one applies to all that follow. */
const valueAt = (list: string[], at: number): string | undefined => list[Math.min(at, list.length - 1)];
const listOf = (table: Element, name: string): string[] =>
  (table.getAttribute(name) ?? "").split(" ").filter((word) => word !== "");

function half(length: string | undefined): string | null {
  const found = LENGTH.exec(length ?? "");
  return found ? `${Number(found[1]) / 2}${found[2]}` : null;
}

function tables(root: Element): void {
  for (const table of root.querySelectorAll("mtable")) {
    const aligns = listOf(table, "columnalign");
    const gaps = listOf(table, "columnspacing");
    const columnLines = listOf(table, "columnlines");
    const rowLines = listOf(table, "rowlines");
    const isFramed = table.parentElement?.localName === "menclose";
    const lines = [...table.children];
    lines.forEach((line, row) => {
      // Those of an equation's number, and what keeps it at the edge, are not counted.
      const cells = [...line.children].filter((cell) => !cell.hasAttribute("class"));
      cells.forEach((cell, column) => {
        const isLast = column === cells.length - 1;
        const align = valueAt(aligns, column);
        if (align !== undefined) cell.setAttribute("columnalign", align);
        const outer = isFramed ? half(gaps[0]) : "0";
        const before = column === 0 ? outer : half(valueAt(gaps, column - 1));
        const after = isLast ? outer : half(valueAt(gaps, column));
        if (gaps.length > 0 && before !== null) setStyle(cell, "padding-inline-start", before);
        if (gaps.length > 0 && after !== null) setStyle(cell, "padding-inline-end", after);
        const columnLine = valueAt(columnLines, column);
        if (!isLast && columnLine !== undefined) cell.setAttribute("columnline", columnLine);
        const rowLine = valueAt(rowLines, row);
        if (row < lines.length - 1 && rowLine !== undefined) cell.setAttribute("rowline", rowLine);
      });
    });
  }
}

/** `width="+0.6em"`: relative to its content. */
function padding(root: Element): void {
  for (const padded of root.querySelectorAll("mpadded")) {
    for (const [size, offset, side] of [
      ["width", "lspace", "padding-inline"],
      ["height", "voffset", "padding-block"],
    ] as const) {
      const more = padded.getAttribute(size)?.startsWith("+") ? half(padded.getAttribute(size) ?? "") : null;
      if (more === null) continue;
      padded.removeAttribute(size);
      padded.removeAttribute(offset);
      setStyle(padded, side, more);
    }
  }
}

export function toCore(root: Element): void {
  rows(root);
  letters(root);
  fences(root);
  accents(root);
  arrows(root);
  primes(root);
  functions(root);
  tables(root);
  padding(root);
}
