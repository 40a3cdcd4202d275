/**
 * For markdown-it: open constructs at the end of a tail are rendered as if closed. Emphasis, code, links, images and
 * addresses are recognized by their beginnings; complete ones are left to the standard rules.
 */
import type { Delimiter, MarkdownIt, StateCore, StateInline, Token } from "markdown-it";
import type { Env } from "./env";

/** Maximum distance from the end, in characters, of an open construct. */
const SPAN_MAX = 2_000;
const LABEL_MAX = 300;
/** Maximum nesting of open pairs; deeper ones are not text. */
const PAIRS_MAX = 12;

const envOf = (state: { env: unknown }): Env => state.env as Env;

/** Whether the parsed range extends to the end of the text; inside of a link it does not. */
export const isAtEnd = (state: StateInline): boolean =>
  envOf(state).isOpenInline && state.posMax === state.src.length && state.posMax - state.pos <= SPAN_MAX;

function openCode(state: StateInline, isSilent: boolean): boolean {
  const { src, pos } = state;
  if (src[pos] !== "`" || !isAtEnd(state)) return false;
  const marks = /^`+/.exec(src.slice(pos))?.[0] ?? "";
  const content = src.slice(pos + marks.length);
  if (content.match(/`+/g)?.includes(marks)) return false;
  if (!isSilent) {
    const token = state.push("code_inline", "code", 0);
    token.content = content.replace(/\n/g, " ").replace(/^ (?=\S)/, "");
  }
  state.pos = state.posMax;
  return true;
}

/** Where the bracket at `from` is closed, on its line and soon. */
function closing(src: string, from: number): number {
  const until = Math.min(src.length, from + LABEL_MAX);
  let depth = 0;
  for (let at = from; at < until; at += 1) {
    const char = src[at];
    if (char === "\n") return -1;
    if (char === "\\") at += 1;
    else if (char === "[") depth += 1;
    else if (char === "]") {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return -1;
}

/** After a label in brackets: the beginning of an address, of a title, or of another label. */
const TARGET =
  /^(?:\(\s*(?:<[^<>\n]*>?|[^\s<][^\s]*)?(?:\s+(?:"[^"]*"?|'[^']*'?|\([^()]*\)?)?)?\s*|\[[^\]\n]*)$/;

function tokenizeLabel(state: StateInline, from: number, to: number): void {
  const { posMax } = state;
  state.pos = from;
  state.posMax = to;
  state.md.inline.tokenize(state);
  state.posMax = posMax;
}

function pushPicture(state: StateInline, label: string): void {
  const token = state.push("image_open", "", 0);
  token.content = label;
}

function openLink(state: StateInline, isSilent: boolean): boolean {
  const { src, pos } = state;
  const isPicture = src.startsWith("![", pos);
  const at = isPicture ? pos + 1 : pos;
  if (src[at] !== "[" || !isAtEnd(state)) return false;
  if (!isPicture && /^\[\^[^\]\s]{0,60}$/.test(src.slice(pos))) {
    // The label of a footnote is not rendered.
    state.pos = state.posMax;
    return true;
  }
  // `list[0]` is no link, and neither is `[ ]`; but `it[` may become a footnote.
  const isLast = at + 1 === state.posMax;
  if (!isPicture && !isLast && (/\w/.test(src[pos - 1] ?? "") || /\s/.test(src[at + 1] ?? ""))) return false;
  const end = closing(src, at);
  const after = src.slice(end + 1);
  if (end < 0) {
    const label = src.slice(at + 1);
    if (label.length > LABEL_MAX || label.includes("\n")) return false;
    if (isPicture && !isSilent) pushPicture(state, label);
    // The text of a link is rendered, its bracket is not.
    state.pos = isPicture ? state.posMax : at + 1;
    return true;
  }
  if (after !== "" && !TARGET.test(after)) return false;
  if (!isSilent && isPicture) pushPicture(state, src.slice(at + 1, end));
  else if (!isSilent) {
    if (after !== "") state.push("link_pending_open", "span", 1);
    tokenizeLabel(state, at + 1, end);
    if (after !== "") state.push("link_pending_close", "span", -1);
  }
  state.pos = state.posMax;
  return true;
}

const SCHEMES = ["<http://", "<https://", "<mailto:"];

/** `<https://exam`: the address without its bracket. */
function openAutolink(state: StateInline): boolean {
  if (state.src[state.pos] !== "<" || !isAtEnd(state)) return false;
  const rest = state.src.slice(state.pos);
  const isAddress = SCHEMES.some((scheme) => scheme.startsWith(rest) || rest.startsWith(scheme));
  if (!isAddress || /[\s>]/.test(rest)) return false;
  state.pos += 1;
  return true;
}

/** `5*3` is a product. */
function isProduct(state: StateInline, { close, length, token }: Delimiter): boolean {
  return close && length === 1 && /[\w)]$/.test(state.tokens[token - 1]?.content ?? "");
}

/** Open marks without a partner get one at the end. */
function closePairs(state: StateInline): void {
  if (!envOf(state).isOpenInline) return;
  const { delimiters } = state;
  const open: Delimiter[] = [];
  let enclosed = -1;
  delimiters.forEach((delimiter, at) => {
    if (delimiter.end >= 0) enclosed = Math.max(enclosed, delimiter.end);
    // Inside of a closed pair it stays open.
    else if (delimiter.open && at > enclosed && !isProduct(state, delimiter)) open.push(delimiter);
  });
  for (const opener of open.slice(-PAIRS_MAX).reverse()) {
    const token = state.push("text", "", 0);
    opener.end = delimiters.length;
    token.content = String.fromCharCode(opener.marker);
    delimiters.push({ ...opener, token: state.tokens.length - 1, end: -1, open: false, close: true });
  }
}

/** The inline text at the very end, if that can still grow. */
function openInline(tokens: Token[], text: string): Token | null {
  if (/\n[ \t]*\n\s*$/.test(text)) return null;
  // After the incomplete cell, the row is filled with empty ones.
  const last = tokens.findLast(
    ({ type, nesting, content }) => nesting === 0 && !(type === "inline" && content === ""),
  );
  return last?.type === "inline" ? last : null;
}

function inline(state: StateCore): void {
  const env = envOf(state);
  const open = env.mode === "tail" ? openInline(state.tokens, state.src) : null;
  for (const token of state.tokens) {
    if (token.type !== "inline") continue;
    env.isOpenInline = token === open;
    state.md.inline.parse(token.content, state.md, env, token.children ?? []);
  }
  env.isOpenInline = false;
}

export function openEnds(parser: MarkdownIt): void {
  parser.core.ruler.at("inline", inline);
  parser.inline.ruler.before("backticks", "open_code", openCode);
  parser.inline.ruler.after("image", "open_link", openLink);
  parser.inline.ruler.before("autolink", "open_autolink", openAutolink);
  parser.inline.ruler2.after("balance_pairs", "close_pairs", closePairs);
}
