/** KaTeX with the maths font: all that a formula needs, loaded with the first one. */
import katex from "katex";
import "./maths.css";
import { toCore } from "./mathml-core";

/** The font is waited for, so that no formula changes its size under the reader; but not for ever. */
const FONT_WAIT_MS = 3_000;

async function loadFont(): Promise<void> {
  // Browsers of tests have no fonts.
  if (!("fonts" in document)) return;
  const late = new Promise((resolve) => setTimeout(resolve, FONT_WAIT_MS));
  await Promise.race([document.fonts.load('1em "Tidegate Maths"', "∑"), late]).catch(() => undefined);
}

const font = loadFont();

/**
 * Draws into `place`, node by node: the page's policy forbids HTML from text. Throws where the source is no formula.
 */
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

/** When everything is there. */
export async function ready(): Promise<typeof typeset> {
  await font;
  return typeset;
}
