/** Maths for markdown-it: `\(…\)`, `\[…\]`, `$$…$$`, and `$…$` unless it may be money. */
import type { MarkdownIt, StateBlock, StateInline } from "markdown-it";
import type { Env } from "./env";
import { isAtEnd } from "./open-syntax";

const BACKSLASH = 0x5c;
const DOLLAR = 0x24;
/** Maximum length of a formula, in characters; longer text is not one. */
const INLINE_MAX = 2_000;
/** Maximum characters between `$$` and its partner on the same line; otherwise it is not a formula. */
const SPAN_MAX = 4_000;
/** Characters after `$` within which a price or a name is distinguished from a formula. */
const OPEN_MAX = 300;

function push(state: StateInline, content: string, isBlock: boolean, isOpen = false): void {
  const token = state.push("math_inline", "math", 0);
  token.content = content;
  token.block = false;
  token.meta = isOpen ? { isBlock, isOpen } : { isBlock };
}

/** The rest is an incomplete formula. */
function pushOpen(state: StateInline, isSilent: boolean, from: number, isBlock: boolean): boolean {
  if (!isAtEnd(state)) return false;
  if (!isSilent) push(state, state.src.slice(from), isBlock, true);
  state.pos = state.posMax;
  return true;
}

/** Whether the text after an open `$` is probably a formula, not a price, a name, or prose. */
export function mayBeFormula(content: string): boolean {
  if (/^[\s,.;:!?)\]，。；、）]|\n\s*\n/.test(content) || content.length > OPEN_MAX) return false;
  if (/^[-+]?\d/.test(content))
    return /^[-+]?\d[\d.,]*(?: ?[\\^_={]|[ac-jln-su-z](?![a-z])|[a-z][\\^_{])/.test(content);
  if (/^[A-Za-z]{4}|^[A-Z]{2,}_[A-Z]/.test(content)) return false;
  const words = content.replace(/\\(?:text|mathrm|operatorname)\{[^}]*\}?|\\[A-Za-z]*/g, "");
  if (/[，。；、]/.test(words) || /(?:[A-Za-z]{2,}\s+){3}/.test(words)) return false;
  return /[\\^_={]/.test(content) || !/[A-Za-z]{4}|[\u3400-\u9fff]/.test(words);
}

/** Searches no further than the maximum length: a text full of openings must not be read once for each. */
function find(state: StateInline, mark: string, from: number): number {
  const until = Math.min(state.posMax, from + INLINE_MAX);
  const at = state.src.slice(from, until).indexOf(mark);
  return at < 0 ? -1 : from + at;
}

function bracketed(state: StateInline, isSilent: boolean): boolean {
  const { src, pos } = state;
  if (src.charCodeAt(pos) !== BACKSLASH) return false;
  const open = src[pos + 1];
  if (open !== "(" && open !== "[") return false;
  const end = find(state, open === "(" ? "\\)" : "\\]", pos + 2);
  if (end < 0) return pushOpen(state, isSilent, pos + 2, open === "[");
  if (!isSilent) push(state, src.slice(pos + 2, end).trim(), open === "[");
  state.pos = end + 2;
  return true;
}

function openDollars(state: StateInline, isSilent: boolean, from: number, isDouble: boolean): boolean {
  // Alone, it is undecided.
  if (from === state.posMax && !isDouble && isAtEnd(state)) {
    state.pos = from;
    return true;
  }
  const isFormula = isDouble || mayBeFormula(state.src.slice(from));
  return isFormula && pushOpen(state, isSilent, from, isDouble);
}

/** No space inside of its ends, no digit after it: "$5 and $10" stays money. */
function dollars(state: StateInline, isSilent: boolean): boolean {
  const { src, pos } = state;
  if (src.charCodeAt(pos) !== DOLLAR) return false;
  const isDouble = src.charCodeAt(pos + 1) === DOLLAR;
  const from = pos + (isDouble ? 2 : 1);
  const end = find(state, isDouble ? "$$" : "$", from);
  if (end < 0) return openDollars(state, isSilent, from, isDouble);
  if (end === from) return false;
  const content = src.slice(from, end);
  if (!isDouble) {
    if (/^\s|\s$|\n\s*\n/.test(content) || src[end - 1] === "\\") return false;
    if (/[0-9]/.test(src[end + 1] ?? "")) return false;
    // "$6, US$": the amount may follow.
    if (end + 1 === state.posMax && isAtEnd(state) && !mayBeFormula(content)) return false;
  }
  if (!isSilent) push(state, content.trim(), isDouble);
  state.pos = end + (isDouble ? 2 : 1);
  return true;
}

const FENCES: [string, string][] = [
  ["$$", "$$"],
  ["\\[", "\\]"],
];

/** The extent of the formula that begins here: up to the line that ends with its partner, or to the end of the text. */
function linesOf(state: StateBlock, startLine: number, endLine: number, [open, close]: [string, string]) {
  const textOf = (line: number) =>
    state.src.slice((state.bMarks[line] ?? 0) + (state.tShift[line] ?? 0), state.eMarks[line]);
  const lines = [textOf(startLine).slice(open.length)];
  const isBare = lines[0]?.trim() === "";
  const isEnd = (line: string | undefined) => line?.trimEnd().endsWith(close) === true;
  let line = startLine;
  let length = 0;
  let isOutside = false;
  while (!isEnd(lines.at(-1)) && (isBare || length <= SPAN_MAX)) {
    line += 1;
    isOutside = line < endLine && (state.sCount[line] ?? 0) < state.blkIndent && !state.isEmpty(line);
    if (line >= endLine || isOutside) break;
    lines.push(textOf(line));
    length += lines.at(-1)?.length ?? 0;
  }
  const isClosed = isEnd(lines.at(-1));
  const mayGrow = !isClosed && !isOutside && length <= SPAN_MAX && line >= state.lineMax;
  return { lines, isBare, isClosed, mayGrow, end: isClosed ? line + 1 : Math.min(line, endLine) };
}

/** `$$` or `\[` at the beginning of a line, up to the line that ends with its partner. */
function block(state: StateBlock, startLine: number, endLine: number, isSilent: boolean): boolean {
  const start = (state.bMarks[startLine] ?? 0) + (state.tShift[startLine] ?? 0);
  const fence = FENCES.find(([open]) => state.src.startsWith(open, start));
  if (!fence || (state.sCount[startLine] ?? 0) - state.blkIndent >= 4) return false;
  const { mode } = state.env as Env;
  const first = state.src.slice(start + fence[0].length, state.eMarks[startLine]).trimEnd();
  // `$$a$$ and $$b$$`: formulas in a paragraph.
  if (first.slice(0, -fence[1].length).includes(fence[1])) return false;
  const { lines, isBare, isClosed, mayGrow, end } = linesOf(state, startLine, endLine, fence);
  const isOpen = mayGrow && (mode === "tail" || mode === "lines");
  // A paragraph that only begins with maths is a paragraph; an open formula of an incomplete text extends to the end.
  if (!isClosed && !isOpen && (lines.length === 1 || !isBare)) return false;
  if (isSilent) return true;
  const content = lines.join("\n").trimEnd();
  const token = state.push("math_block", "math", 0);
  token.block = true;
  token.content = (isClosed ? content.slice(0, -fence[1].length) : content).trim();
  token.map = [startLine, end];
  if (!isClosed && mode === "tail") token.meta = { isOpen: true };
  state.line = end;
  return true;
}

export function math(parser: MarkdownIt): void {
  parser.inline.ruler.before("escape", "math_bracketed", bracketed);
  parser.inline.ruler.after("escape", "math_dollars", dollars);
  parser.block.ruler.after("fence", "math_block", block, {
    alt: ["paragraph", "reference", "blockquote", "list"],
  });
}
