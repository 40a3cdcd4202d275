/** The Markdown that answers are written in: CommonMark, tables, strikethrough, maths; right for Chinese; never HTML. */
import MarkdownIt, { type Env, type Token } from "markdown-it";
import cjkFriendly from "markdown-it-cjk-friendly";
import { math } from "./math-syntax";

export type { Env, Token };

/** A link of another scheme is no link; it stays as the text it was written in. */
const SCHEMES = /^(?:https?:\/\/|mailto:)/i;

export const isSafeLink = (url: string): boolean => SCHEMES.test(url.trim());

const parser = new MarkdownIt({ html: false, linkify: true, typographer: false, breaks: false });
parser.use(cjkFriendly).use(math);
parser.validateLink = isSafeLink;
// "example.com" in prose is a name more often than an address.
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });

/** `env` gathers link definitions; it is changed. */
export function parse(text: string, env: Env): Token[] {
  return parser.parse(text, env);
}
