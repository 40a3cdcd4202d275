/**
 * `<details>` with its `<summary>` for markdown-it, and no other HTML tag. Their content is Markdown; their attributes
 * are ignored, except `open`. An unclosed one extends to the end of its container.
 */
import type { MarkdownIt, StateBlock } from "markdown-it";
import type { Env } from "./env";

const OPENING = /^<details(\s[^<>]{0,200})?>/i;
const ANY = /<(\/?)details(?:\s[^<>]{0,200})?>/gi;
const SUMMARY = /^\s*<summary(?:\s[^<>]{0,200})?>(.*?)(?:<\/summary>|$)/is;
const FENCE = /^[ \t]*(`{3,}|~{3,})/;
const DEPTH_MAX = 8;
const SUMMARY_MAX = 500;

interface Found {
  /** Between the tags. */
  text: string;
  /** After them, on the line of the closing one. */
  rest: string;
  isClosed: boolean;
  /** The line after the last. */
  end: number;
}

/** Up to the closing tag of the one that begins the line. Tags in code are ignored. */
function find(state: StateBlock, startLine: number, endLine: number): Found {
  let depth = 0;
  let fence = "";
  let text = "";
  let line = startLine;
  for (; line < endLine; line += 1) {
    if (line > startLine && !state.isEmpty(line) && (state.sCount[line] ?? 0) < state.blkIndent) break;
    const content = state.getLines(line, line + 1, state.blkIndent, false);
    const marks = FENCE.exec(content)?.[1] ?? "";
    if (fence === "" && marks !== "") fence = marks;
    else if (fence !== "" && marks.startsWith(fence)) fence = "";
    else if (fence === "") {
      for (const { 0: tag, 1: slash, index } of content.matchAll(ANY)) {
        depth += slash === "" ? 1 : -1;
        if (depth === 0) {
          const rest = content.slice(index + tag.length);
          return { text: text + content.slice(0, index), rest, isClosed: true, end: line + 1 };
        }
      }
    }
    text += `${content}\n`;
  }
  return { text, rest: "", isClosed: false, end: line };
}

/** Parses a nested text into the tokens of this one. */
function nested(state: StateBlock, text: string, isLast: boolean): void {
  const env = state.env as Env;
  const { openLine } = env;
  const from = state.tokens.length;
  const lines = text.split("\n");
  env.openLine = isLast && openLine >= 0 ? lines.findLastIndex((line) => line.trim() !== "") : -1;
  env.depth += 1;
  state.md.block.parse(text, state.md, env, state.tokens);
  env.depth -= 1;
  env.openLine = openLine;
  for (const token of state.tokens.slice(from)) {
    token.level += state.level;
    token.map = null;
  }
}

function pushSummary(state: StateBlock, text: string): void {
  state.push("summary_open", "summary", 1);
  const token = state.push("inline", "", 0);
  token.content = text.replace(/\s+/g, " ").trim().slice(0, SUMMARY_MAX);
  token.children = [];
  state.push("summary_close", "summary", -1);
}

function details(state: StateBlock, startLine: number, endLine: number, isSilent: boolean): boolean {
  const env = state.env as Env;
  const start = (state.bMarks[startLine] ?? 0) + (state.tShift[startLine] ?? 0);
  if (state.src[start] !== "<" || (state.sCount[startLine] ?? 0) - state.blkIndent >= 4) return false;
  const tag = OPENING.exec(state.src.slice(start, state.eMarks[startLine]));
  if (!tag || env.depth >= DEPTH_MAX) return false;
  if (isSilent) return true;
  const { text, rest, isClosed, end } = find(state, startLine, endLine);
  const content = text.trimStart().slice(tag[0].length);
  const summary = SUMMARY.exec(content);
  const opened = state.push("details_open", "details", 1);
  opened.map = [startLine, end];
  // An unclosed one is shown rather than hidden.
  const isOver = env.mode === "whole" || env.mode === "settled";
  opened.meta = { isOpen: /\sopen(?![\w-])/i.test(tag[1] ?? "") || (isOver && !isClosed) };
  pushSummary(state, summary?.[1] ?? "");
  nested(state, content.slice(summary?.[0].length ?? 0), !isClosed);
  state.push("details_close", "details", -1);
  if (rest.trim() !== "") nested(state, rest, false);
  state.line = end;
  return true;
}

export function detailsTags(parser: MarkdownIt): void {
  parser.block.ruler.before("html_block", "details", details, {
    alt: ["paragraph", "reference", "blockquote"],
  });
}
