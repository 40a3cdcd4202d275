/** Maths for markdown-it: `\(…\)`, `\[…\]`, `$$…$$`, and `$…$` where it cannot be money. */
import type { MarkdownIt, StateBlock, StateInline } from "markdown-it";

const BACKSLASH = 0x5c;
const DOLLAR = 0x24;
/** A formula that is longer is a mistake of the writer. */
const INLINE_MAX = 2_000;

function push(state: StateInline, content: string, isBlock: boolean): void {
  const token = state.push("math_inline", "math", 0);
  token.content = content;
  token.block = false;
  token.meta = { isBlock };
}

/** Looks no further than a formula may be long: a text full of openings must not be read once for each. */
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
  if (end < 0) return false;
  if (!isSilent) push(state, src.slice(pos + 2, end).trim(), open === "[");
  state.pos = end + 2;
  return true;
}

/** No space inside of its ends, no digit after it: "$5 and $10" stays money. */
function dollars(state: StateInline, isSilent: boolean): boolean {
  const { src, pos } = state;
  if (src.charCodeAt(pos) !== DOLLAR) return false;
  const isDouble = src.charCodeAt(pos + 1) === DOLLAR;
  const from = pos + (isDouble ? 2 : 1);
  const end = find(state, isDouble ? "$$" : "$", from);
  if (end <= from) return false;
  const content = src.slice(from, end);
  if (!isDouble) {
    if (/^\s|\s$|\n\s*\n/.test(content) || src[end - 1] === "\\") return false;
    if (/[0-9]/.test(src[end + 1] ?? "")) return false;
  }
  if (!isSilent) push(state, content.trim(), isDouble);
  state.pos = end + (isDouble ? 2 : 1);
  return true;
}

const FENCES: [string, string][] = [
  ["$$", "$$"],
  ["\\[", "\\]"],
];

/** `$$` or `\[` at the beginning of a line, up to the line that ends with its partner. */
function block(state: StateBlock, startLine: number, endLine: number, isSilent: boolean): boolean {
  const start = (state.bMarks[startLine] ?? 0) + (state.tShift[startLine] ?? 0);
  const first = state.src.slice(start, state.eMarks[startLine]);
  const fence = FENCES.find(([open]) => first.startsWith(open));
  if (!fence || (state.sCount[startLine] ?? 0) - state.blkIndent >= 4) return false;
  const [open, close] = fence;
  const lines = [first.slice(open.length)];
  let line = startLine;
  while (!lines.at(-1)?.trimEnd().endsWith(close)) {
    line += 1;
    if (line >= endLine || (state.sCount[line] ?? 0) < state.blkIndent) break;
    lines.push(state.src.slice((state.bMarks[line] ?? 0) + (state.tShift[line] ?? 0), state.eMarks[line]));
  }
  const isClosed = lines.at(-1)?.trimEnd().endsWith(close) === true;
  // A paragraph that only begins with maths is a paragraph; an open formula in mid-stream goes on to the end.
  if (!isClosed && (lines.length === 1 || first.slice(open.length).trim() !== "")) return false;
  if (isSilent) return true;
  const content = lines.join("\n").trimEnd();
  const token = state.push("math_block", "math", 0);
  token.block = true;
  token.content = (isClosed ? content.slice(0, -close.length) : content).trim();
  token.map = [startLine, Math.min(line + 1, endLine)];
  state.line = Math.min(line + 1, endLine);
  return true;
}

export function math(parser: MarkdownIt): void {
  parser.inline.ruler.before("escape", "math_bracketed", bracketed);
  parser.inline.ruler.after("escape", "math_dollars", dollars);
  parser.block.ruler.after("fence", "math_block", block, {
    alt: ["paragraph", "reference", "blockquote", "list"],
  });
}
