/**
 * The end of a growing text without undecided marks: `##`, `**`, `|--`, half a tag. Only marks are held back, never
 * words, and never more than a line.
 */

/** A longer line of marks is not markup. */
const LINE_MAX = 1_000;
const TAG_MAX = 220;

/** Prefixes of a line before its own text: quotes and list items. */
const CONTAINER = /^[ \t]*(?:>[ \t]*|(?:[-+*]|\d{1,9}[.)])(?:[ \t]+|$))*/;
const ITEM = /(?:[-+*]|\d[.)])[ \t]+$/;
const FENCE = /^[ \t]*(?:>[ \t]*|(?:[-+*]|\d{1,9}[.)])[ \t]+)*(`{3,}|~{3,})([^\n]*)$/gm;

/** A rule, an underlined heading, a table's second line, the beginnings of a heading, a fence, a footnote or a definition. */
const MARKS = [
  /^[-=_*+][-=_*+ \t]*$/,
  /^[-|:][-|: \t]*$/,
  /^#{1,6}[ \t]*$/,
  /^(?:`{1,2}|~{1,2})$/,
  /^\[\^[^\]\s]{0,60}\]?$/,
  /^\[[^\]^\n][^\]\n]{0,200}\]:/,
];
/** The number of an item, perhaps. */
const NUMBER = /^\d{1,3}[.)]?$/;
/** The box of a task, perhaps. */
const BOX = /^\[[ xX]?\]?[ \t]*$/;

/** After these, the meaning of a mark depends on the next character. */
const LOOSE = [
  /(?:^|[^\\*_~`])([*_~`]{1,5})$/,
  /(?:^|[^\\])(\\\n?)$/,
  /(?:^|\s)(!)$/,
  /(!\[)$/,
  /(&#(?:x[\da-f]{0,6}|\d{0,7}))$/i,
];
/** Maximum characters held back at the end of a word. */
const END = 40;

/** Character references, as models write them. */
const ENTITIES =
  "amp lt gt nbsp quot apos copy reg trade hellip mdash ndash times divide deg rarr larr le ge ne plusmn middot".split(
    " ",
  );

const TAGS = ["<details", "</details>", "<summary", "</summary>", "<br>", "<br/>", "<br />"];

/** The open fence at the end, and the start of its line. */
function openFence(text: string): { marks: string; at: number } | null {
  if (!text.includes("```") && !text.includes("~~~")) return null;
  let open: { marks: string; at: number } | null = null;
  for (const { 1: marks = "", 2: rest = "", index } of text.matchAll(FENCE)) {
    if (!open) {
      if (marks[0] === "~" || !rest.includes("`")) open = { marks, at: index };
    } else if (marks[0] === open.marks[0] && marks.length >= open.marks.length && rest.trim() === "") {
      open = null;
    }
  }
  return open;
}

/** In code, only a partial closing fence is held back; the language of an opening one is complete with its line. */
function cutInFence(text: string, lineStart: number, fence: { marks: string; at: number }): string {
  if (fence.at >= lineStart) return text.slice(0, text.indexOf(fence.marks, lineStart) + fence.marks.length);
  const line = text.slice(lineStart).replace(CONTAINER, "");
  return line !== "" && fence.marks.startsWith(line) ? text.slice(0, lineStart) : text;
}

function isMarksOnly(line: string): boolean {
  if (line.trim() === "" || line.length > LINE_MAX) return false;
  const prefix = CONTAINER.exec(line)?.[0] ?? "";
  const rest = line.slice(prefix.length);
  if (rest.trim() === "" || MARKS.some((marks) => marks.test(rest))) return true;
  return ITEM.test(prefix) ? BOX.test(rest) : NUMBER.test(rest);
}

function halfTag(text: string): number {
  const at = text.lastIndexOf("<");
  if (at < 0 || text.length - at > TAG_MAX) return -1;
  const tag = text.slice(at).toLowerCase();
  const isHalf = TAGS.some((one) => one.startsWith(tag)) || /^<(?:details|summary)\s[^>]*$/.test(tag);
  return isHalf && !tag.endsWith(">") ? at : -1;
}

function halfEntity(end: string): number {
  const name = /&([a-z]*)$/.exec(end)?.[1];
  return name !== undefined && ENTITIES.some((one) => one.startsWith(name)) ? name.length + 1 : 0;
}

/** Start of the marks that may belong to the following text. */
function looseEnd(text: string): number {
  const tag = halfTag(text);
  if (tag >= 0) return tag;
  const end = text.slice(-END);
  const loose = LOOSE.map((marks) => marks.exec(end)?.[1]).find((found) => found !== undefined);
  return text.length - (loose?.length ?? halfEntity(end));
}

/** The part that can be rendered now. */
export function cutTail(text: string): string {
  const lineStart = text.lastIndexOf("\n") + 1;
  const fence = openFence(text);
  if (fence) return cutInFence(text, lineStart, fence);
  if (isMarksOnly(text.slice(lineStart))) return text.slice(0, lineStart);
  const end = looseEnd(text);
  if (end === text.length) return text;
  // A line like `| **` is dropped completely.
  return isMarksOnly(text.slice(lineStart, end)) ? text.slice(0, lineStart) : text.slice(0, end);
}
