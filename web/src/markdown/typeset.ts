/** KaTeX with the maths font, loaded with the first formula. */
import katex from "katex";
import "./maths.css";
import { toCore } from "./mathml-core";

/** Waits for the font, so that formulas do not change their size, but not forever. */
const FONT_WAIT_MS = 3_000;

async function loadFont(): Promise<void> {
  // Browsers of tests have no fonts.
  if (!("fonts" in document)) return;
  const late = new Promise((resolve) => setTimeout(resolve, FONT_WAIT_MS));
  await Promise.race([document.fonts.load('1em "Tidegate Maths"', "∑"), late]).catch(() => undefined);
}

const font = loadFont();

/** Renders into `place`, node by node: the page's policy forbids HTML from text. Throws if the source is not a formula. */
export function typeset(source: string, place: HTMLElement, isBlock: boolean): void {
  katex.render(source, place, {
    output: "mathml",
    displayMode: isBlock,
    throwOnError: true,
    trust: false,
    strict: false,
    maxExpand: 200,
    maxSize: 20,
  });
  toCore(place);
}

/** Resolves when everything is loaded. */
export async function ready(): Promise<typeof typeset> {
  await font;
  return typeset;
}
