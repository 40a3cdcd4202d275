/**
 * The Markdown of answers: CommonMark, tables, strikethrough, maths, footnotes, details, `<br>`; with support for
 * Chinese; no other HTML.
 */
import MarkdownIt, { type Token } from "markdown-it";
import cjkFriendly from "markdown-it-cjk-friendly";
import { lineBreaks } from "./break-syntax";
import { detailsTags } from "./details-syntax";
import { copyOf, type Env } from "./env";
import { math } from "./math-syntax";
import { notes } from "./note-syntax";
import { openEnds } from "./open-syntax";
import { tables } from "./table-syntax";

export type { Token };

/** A link with another scheme is shown as its source. */
const SCHEMES = /^(?:https?:\/\/|mailto:)/i;

export const isSafeLink = (url: string): boolean => SCHEMES.test(url.trim());

const parser = new MarkdownIt({ html: false, linkify: true, typographer: false, breaks: false });
parser.use(cjkFriendly).use(openEnds).use(math).use(tables).use(notes).use(detailsTags).use(lineBreaks);
parser.validateLink = isSafeLink;
// "example.com" in prose is a name more often than an address.
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });

/** `env` collects definitions; it is modified. */
export function parse(text: string, env: Env): Token[] {
  return parser.parse(text, env);
}

/** Parses an incomplete text; `env` is not modified, the tail's definitions are in a copy. */
export function parseTail(text: string, env: Env): { tokens: Token[]; env: Env } {
  const copy = copyOf(env, "tail");
  const isOver = /\n[ \t]*\n\s*$/.test(text);
  if (!isOver) copy.openLine = text.trimEnd().split("\n").length - 1;
  return { tokens: parser.parse(text, copy), env: copy };
}
