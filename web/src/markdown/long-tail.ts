/**
 * A list or a table that grows beyond what is parsed in every frame is rendered in pieces, of which only the last
 * grows. When the block is complete, it is parsed as one and replaces them.
 */

const LIST = /^(?:[-+*]|\d{1,9}[.)])[ \t]/;
const ITEM = /\n(?=(?:[-+*]|\d{1,9}[.)])[ \t])/g;
const TABLE = /^\|[^\n]*\n\|?[-: |\t]+\n/;

/** Start of the last item or row; -1 if the text is neither, or has only one. */
function lastPart(text: string, isTable: boolean): number {
  if (isTable) return text.lastIndexOf("\n") + 1;
  let last = -1;
  if (LIST.test(text)) for (const { index } of text.matchAll(ITEM)) last = index + 1;
  return last;
}

export class LongTail {
  /** Number of characters of the block that are in pieces. */
  private length = 0;
  /** Head of a table, with which each piece begins. */
  private head = "";

  clear(): void {
    this.length = 0;
    this.head = "";
  }

  /**
   * The rest of a block to render as its end, and the new piece before it if the rest would be longer than `most`. A
   * piece is cut only once.
   */
  cut(block: string, most: number): { piece: string | null; rest: string } {
    const rest = this.head + block.slice(this.length);
    if (rest.length <= most) return { piece: null, rest };
    this.head ||= TABLE.exec(rest)?.[0] ?? "";
    const at = lastPart(rest, this.head !== "");
    if (at <= this.head.length) return { piece: null, rest };
    // The head of a piece that is not the first was put there.
    this.length += at - (this.length > 0 ? this.head.length : 0);
    return { piece: rest.slice(0, at), rest: this.head + rest.slice(at) };
  }
}
