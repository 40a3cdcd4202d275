/** Letters of formulas: MathML Core has no `mathvariant` except `normal`, so bold, script and others use separate characters. */

interface Alphabet {
  capital: number;
  small: number;
  digit?: number;
  /** Of the capital and the small alpha. */
  greek?: [number, number];
}

const ALPHABETS: Record<string, Alphabet> = {
  bold: { capital: 0x1d400, small: 0x1d41a, digit: 0x1d7ce, greek: [0x1d6a8, 0x1d6c2] },
  italic: { capital: 0x1d434, small: 0x1d44e, greek: [0x1d6e2, 0x1d6fc] },
  "bold-italic": { capital: 0x1d468, small: 0x1d482, digit: 0x1d7ce, greek: [0x1d71c, 0x1d736] },
  script: { capital: 0x1d49c, small: 0x1d4b6 },
  "bold-script": { capital: 0x1d4d0, small: 0x1d4ea },
  fraktur: { capital: 0x1d504, small: 0x1d51e },
  "bold-fraktur": { capital: 0x1d56c, small: 0x1d586 },
  "double-struck": { capital: 0x1d538, small: 0x1d552, digit: 0x1d7d8 },
  "sans-serif": { capital: 0x1d5a0, small: 0x1d5ba, digit: 0x1d7e2 },
  "bold-sans-serif": { capital: 0x1d5d4, small: 0x1d5ee, digit: 0x1d7ec, greek: [0x1d756, 0x1d770] },
  "sans-serif-italic": { capital: 0x1d608, small: 0x1d622, digit: 0x1d7e2 },
  "sans-serif-bold-italic": { capital: 0x1d63c, small: 0x1d656, digit: 0x1d7ec, greek: [0x1d790, 0x1d7aa] },
  monospace: { capital: 0x1d670, small: 0x1d68a, digit: 0x1d7f6 },
};

/** These had a place in Unicode before the others came. */
const OLDER: Record<string, Record<string, string>> = {
  italic: { h: "ℎ" },
  script: { B: "ℬ", E: "ℰ", F: "ℱ", H: "ℋ", I: "ℐ", L: "ℒ", M: "ℳ", R: "ℛ", e: "ℯ", g: "ℊ", o: "ℴ" },
  fraktur: { C: "ℭ", H: "ℌ", I: "ℑ", R: "ℜ", Z: "ℨ" },
  "double-struck": { C: "ℂ", H: "ℍ", N: "ℕ", P: "ℙ", Q: "ℚ", R: "ℝ", Z: "ℤ" },
};

/** They follow the small omega, in this order. */
const GREEK_SYMBOLS = "∂ϵϑϰϕϱϖ";

function moved(code: number, from: string, to: string, start: number | undefined): number | undefined {
  const first = from.codePointAt(0) ?? 0;
  return start !== undefined && code >= first && code <= (to.codePointAt(0) ?? 0)
    ? start + code - first
    : undefined;
}

function letter(character: string, variant: string, alphabet: Alphabet): string {
  const older = OLDER[variant]?.[character];
  if (older) return older;
  const code = character.codePointAt(0) ?? 0;
  const [capital, small] = alphabet.greek ?? [];
  const symbol = GREEK_SYMBOLS.indexOf(character);
  const found =
    moved(code, "A", "Z", alphabet.capital) ??
    moved(code, "a", "z", alphabet.small) ??
    moved(code, "0", "9", alphabet.digit) ??
    moved(code, "Α", "Ω", capital) ??
    moved(code, "α", "ω", small) ??
    (capital !== undefined && character === "∇" ? capital + 25 : undefined) ??
    (small !== undefined && symbol >= 0 ? small + 25 + symbol : undefined);
  return found === undefined ? character : String.fromCodePoint(found);
}

/** The text in the characters of a MathML `mathvariant`; characters without a variant are unchanged. */
export function lettersOf(text: string, variant: string): string {
  const alphabet = ALPHABETS[variant];
  if (!alphabet) return text;
  return Array.from(text, (character) => letter(character, variant, alphabet)).join("");
}
