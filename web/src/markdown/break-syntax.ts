/** `<br>` for markdown-it: the only way to break a line in a table cell, and models use it. */
import type { MarkdownIt, StateInline } from "markdown-it";

const TAG = /<br[ \t]{0,4}\/?>/iy;

function lineBreak(state: StateInline, isSilent: boolean): boolean {
  TAG.lastIndex = state.pos;
  const tag = TAG.exec(state.src)?.[0];
  if (tag === undefined || state.pos + tag.length > state.posMax) return false;
  if (!isSilent) state.push("hardbreak", "br", 0);
  state.pos += tag.length;
  return true;
}

export function lineBreaks(parser: MarkdownIt): void {
  parser.inline.ruler.before("autolink", "line_break", lineBreak);
}
