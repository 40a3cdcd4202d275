/** Minimum width of a table cell for readable text: no word is split, and no column is one character wide. */

/**
 * Kind of a cell: `short` stays on one line, `cjk` and `long` have a minimum width, `endless` contains a word that may
 * be split.
 */
export type Fit = "short" | "cjk" | "long" | "endless";

/** A longer word is split; otherwise one such word would make the table scroll very far. */
export const WORD_MAX = 120;
/** Chinese or Japanese characters that stay on one line. */
const CJK_SHORT = 4;
/** From this many characters, a column of single words would be too tall. */
const LONG = 48;

const CJK = /[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]|[\ud840-\ud8bf][\udc00-\udfff]/g;

export function fitOf(text: string): Fit | undefined {
  const cjk = text.match(CJK)?.length ?? 0;
  const longest = text.split(/\s+/).reduce((most, word) => Math.max(most, word.length), 0);
  if (longest - cjk > WORD_MAX) return "endless";
  if (cjk === 0) return text.length > LONG ? "long" : undefined;
  if (cjk <= CJK_SHORT && text.length <= CJK_SHORT * 3) return "short";
  return cjk * 2 + (text.length - cjk) > LONG ? "long" : "cjk";
}

/** Browsers break lines at these characters inside of a word: `real-time`, `src/main.rs`, `a?b=c`. */
const COMPOUND = /[^\s\p{P}\p{S}][-/?&=.,:+|\u2010\u2013\u2014]+[^\s\p{P}\p{S}]/u;

const isCompound = (word: string): boolean =>
  word.length <= WORD_MAX && COMPOUND.test(word) && word.search(CJK) < 0;

/** The text in pieces; those at odd indices are words that stay on one line. */
export function compounds(text: string): string[] {
  const pieces = [""];
  for (const part of text.split(/(\s+)/)) {
    if (isCompound(part)) pieces.push(part, "");
    else pieces[pieces.length - 1] += part;
  }
  return pieces;
}
