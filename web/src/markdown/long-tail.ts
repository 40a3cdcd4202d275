/**
 * A list or a table that grows beyond what is parsed with every frame: what was written of it is drawn as pieces that wait, and only the
 * last piece grows. When the block is finished, it is parsed as one and takes their place.
 */

const LIST = /^(?:[-+*]|\d{1,9}[.)])[ \t]/;
const ITEM = /\n(?=(?:[-+*]|\d{1,9}[.)])[ \t])/g;
const TABLE = /^\|[^\n]*\n\|?[-: |\t]+\n/;

/** Where the last item or row begins; -1 where the text is neither, or has only one. */
function lastPart(text: string, isTable: boolean): number {
  if (isTable) return text.lastIndexOf("\n") + 1;
  let last = -1;
  if (LIST.test(text)) for (const { index } of text.matchAll(ITEM)) last = index + 1;
  return last;
}

export class LongTail {
  /** Characters of the block that are in pieces. */
  private length = 0;
  /** Of a table: what each piece begins with. */
  private head = "";

  clear(): void {
    this.length = 0;
    this.head = "";
  }

  /**
   * What is left of a block to be drawn as its end, and the new piece before it, if what is left would be longer than `most`. A piece
   * is cut off once.
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
