/**
 * The characters that the maths font keeps, one `U+…` a line: what KaTeX can write, found in its own source, and the letters,
 * operators and arrows that a model may write instead of a command.
 */
import { readFileSync } from "node:fs";

const source = readFileSync(new URL("../node_modules/katex/dist/katex.mjs", import.meta.url), "utf8");
const kept = new Set();
for (const [, hex] of source.matchAll(/\\u([0-9A-Fa-f]{4})/g)) kept.add(Number.parseInt(hex, 16));
for (const character of source) kept.add(character.codePointAt(0));

const RANGES = [
  [0x20, 0x7e], // ASCII
  [0xa0, 0xff], // Latin-1
  [0x391, 0x3d6], // Greek
  [0x2000, 0x2069], // spaces, primes, invisible operators
  [0x2100, 0x214f], // letterlike symbols
  [0x2190, 0x21ff], // arrows
  [0x2200, 0x22ff], // operators
  [0x1d400, 0x1d7ff], // letters and digits of formulas
];
for (const [first, last] of RANGES) for (let code = first; code <= last; code += 1) kept.add(code);
// Delimiters and braces that stretch.
for (const character of "‖⟦⟧⟨⟩⟪⟫‾⏞⏟⌈⌉⌊⌋") kept.add(character.codePointAt(0));

for (const code of [...kept].sort((a, b) => a - b)) {
  const isSurrogate = code >= 0xd800 && code <= 0xdfff;
  if (code >= 0x20 && !isSurrogate) process.stdout.write(`U+${code.toString(16)}\n`);
}
