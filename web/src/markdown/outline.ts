/** Heading levels in the page's outline: below the message's, without gaps, whatever the model used. */
import type { Token } from "./parser";

/** The page has a title, and each message a heading. */
const FIRST = 3;

export class Outline {
  constructor(
    private written = 0,
    private level = FIRST - 1,
  ) {}

  copy(): Outline {
    return new Outline(this.written, this.level);
  }

  /** Marks headings, in text order. */
  mark(tokens: Token[]): void {
    for (const token of tokens) {
      if (token.type !== "heading_open") continue;
      const written = Number(token.tag[1]);
      if (written > this.written) this.level = Math.min(6, this.level + 1);
      else this.level = Math.max(FIRST, this.level - (this.written - written));
      this.written = written;
      token.meta = { level: this.level };
    }
  }
}

export const outlineLevel = (token: Token): number =>
  (token.meta as { level?: number } | null)?.level ?? FIRST;
