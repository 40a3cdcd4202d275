/** Tables for markdown-it: a head whose delimiter row is still incomplete, and a limit on columns. */
import type { MarkdownIt, StateBlock } from "markdown-it";
import type { Env } from "./env";

/** A table with more columns is shown as its source. */
export const COLUMNS_MAX = 100;

function pushCell(state: StateBlock, content: string): void {
  state.push("th_open", "th", 1);
  const token = state.push("inline", "", 0);
  token.content = content;
  token.children = [];
  state.push("th_close", "th", -1);
}

const lineOf = (state: StateBlock, line: number): string =>
  state.src.slice((state.bMarks[line] ?? 0) + (state.tShift[line] ?? 0), state.eMarks[line]).trim();

/** The cells of a line, between unescaped bars. */
export function cellsOf(line: string): string[] {
  const cells = line.match(/(?:\\[\s\S]|[^|\\])+|\|/g) ?? [];
  const found = [""];
  for (const piece of cells) {
    if (piece === "|") found.push("");
    else found[found.length - 1] = piece.trim();
  }
  if (found[0] === "") found.shift();
  if (found.at(-1) === "") found.pop();
  return found.map((cell) => cell.replaceAll("\\|", "|"));
}

/** Treats a line that begins with a bar as the head of a table, before the delimiter row confirms it. */
function openTable(state: StateBlock, startLine: number, _endLine: number, isSilent: boolean): boolean {
  if (startLine !== (state.env as Env).openLine) return false;
  const line = lineOf(state, startLine);
  if (!line.startsWith("|") || (state.sCount[startLine] ?? 0) - state.blkIndent >= 4) return false;
  // The line above was not a head, or this would be its delimiter row.
  if (startLine > 0 && lineOf(state, startLine - 1).startsWith("|")) return false;
  const cells = cellsOf(line);
  if (cells.length === 0 || cells.length > COLUMNS_MAX) return false;
  if (isSilent) return true;
  const table = state.push("table_open", "table", 1);
  table.map = [startLine, startLine + 1];
  state.push("thead_open", "thead", 1);
  state.push("tr_open", "tr", 1);
  for (const cell of cells) pushCell(state, cell);
  state.push("tr_close", "tr", -1);
  state.push("thead_close", "thead", -1);
  state.push("table_close", "table", -1);
  state.line = startLine + 1;
  return true;
}

const DELIMITERS = /^[|:-][|: \t-]+$/;

/** A table of thousands of columns, as its source. */
function wideTable(state: StateBlock, startLine: number, endLine: number, isSilent: boolean): boolean {
  if (startLine + 1 >= endLine || (state.sCount[startLine] ?? 0) - state.blkIndent >= 4) return false;
  const head = lineOf(state, startLine);
  if (head.length <= COLUMNS_MAX || cellsOf(head).length <= COLUMNS_MAX) return false;
  if (!DELIMITERS.test(lineOf(state, startLine + 1))) return false;
  if (isSilent) return true;
  let line = startLine + 2;
  while (line < endLine && !state.isEmpty(line) && (state.sCount[line] ?? 0) >= state.blkIndent) line += 1;
  const token = state.push("code_block", "code", 0);
  token.content = state.getLines(startLine, line, state.blkIndent, true);
  token.map = [startLine, line];
  state.line = line;
  return true;
}

export function tables(parser: MarkdownIt): void {
  const alt = ["paragraph", "reference"];
  parser.block.ruler.before("table", "wide_table", wideTable, { alt });
  parser.block.ruler.before("table", "open_table", openTable, { alt });
}
