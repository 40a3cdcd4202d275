/** Cuts a growing text into blocks that will not change any more and one that still may. */
import { copyOf, type Env, type Note, newEnv } from "./env";
import { LongTail } from "./long-tail";
import { Outline } from "./outline";
import { parse, parseTail, type Token } from "./parser";
import { cutTail } from "./tail";

/** A piece of the page that draws itself once. */
export interface Block {
  /** Unique in its text, and stable: also from when it is open to when it is finished. */
  key: number;
  tokens: Token[];
  /** Shown as it is: too large to be parsed again and again. */
  plain?: string;
}

export interface Split {
  blocks: Block[];
  tail: Block | null;
  /** Footnotes by their labels, as far as they are known. */
  notes: ReadonlyMap<string, Note>;
}

/** A growing block that is larger is drawn in pieces, or as its source where it has none: a line of a megabyte must not stop the page. */
export const TAIL_MAX = 20_000;
/** A finished block that is larger stays as it is. */
export const BLOCK_MAX = 200_000;

const SEAM = 64;
const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m;
const FENCE = /^ {0,3}(?:`{3}|~{3})/;
/** Top-level blocks as `[first token, first line]`. */
function starts(tokens: Token[]): { token: number; line: number }[] {
  const found: { token: number; line: number }[] = [];
  tokens.forEach((token, index) => {
    if (token.level === 0 && token.nesting >= 0 && token.map)
      found.push({ token: index, line: token.map[0] });
  });
  return found;
}

function offsetOfLine(text: string, line: number): number {
  let at = 0;
  for (let count = 0; count < line; count += 1) at = text.indexOf("\n", at) + 1;
  return at;
}

export class Splitter {
  private text = "";
  /** Up to here everything is final. */
  private at = 0;
  /** Up to here whole lines were looked at. */
  private looked = 0;
  private env: Env = newEnv();
  private outline = new Outline();
  private long = new LongTail();
  /** Of a long tail: what waits for its end. */
  private pieces: Block[] = [];
  private blocks: Block[] = [];
  private keys = 0;
  private isDone = false;
  private last: Split = { blocks: [], tail: null, notes: new Map() };

  get length(): number {
    return this.text.length;
  }

  /** The text so far. One that does not begin with the text before begins anew. */
  update(text: string, done: boolean): Split {
    if (text === this.text && done === this.isDone) return this.last;
    if (this.at > 0 && !this.continues(text)) this.reset();
    this.text = text;
    this.isDone = done;
    this.settle(done);
    const end = done ? { tail: null, notes: this.env.notes } : this.tail();
    const blocks = this.pieces.length > 0 ? [...this.blocks, ...this.pieces] : this.blocks;
    this.last = { blocks, ...end };
    return this.last;
  }

  /** Appending is the rule: only the seam is compared, and the beginning. */
  private continues(text: string): boolean {
    const old = this.text.length;
    const seam = Math.max(0, old - SEAM);
    return text.startsWith(this.text.slice(seam), seam) && text.startsWith(this.text.slice(0, SEAM));
  }

  private reset(): void {
    this.at = 0;
    this.looked = 0;
    this.env = newEnv();
    this.outline = new Outline();
    this.blocks = [];
    this.unite();
  }

  /** A block that is finished is one. */
  private unite(): void {
    this.long.clear();
    this.pieces = [];
  }

  private add(tokens: Token[], plain?: string): void {
    this.keys += 1;
    this.blocks = [...this.blocks, { key: this.keys, tokens, ...(plain === undefined ? {} : { plain }) }];
  }

  private keep(tokens: Token[]): void {
    this.outline.mark(tokens);
    const all = starts(tokens);
    all.forEach((start, index) => {
      this.add(tokens.slice(start.token, all[index + 1]?.token));
    });
  }

  /** Moves what can no longer change behind `at`. */
  private settle(done: boolean): void {
    if (done) {
      // A definition that came late changes what was before it, and so does one that never came.
      if (this.at > 0 && (this.env.notes.size > 0 || DEFINITION.test(this.text))) {
        this.reset();
        // The blocks are the same ones, drawn anew where they stand.
        this.keys = 0;
      }
      const rest = this.text.slice(this.at);
      if (rest.length > BLOCK_MAX) this.add([], rest);
      else this.keep(parse(rest, { ...this.env, mode: "whole" }));
      this.at = this.text.length;
      this.unite();
      return;
    }
    const lines = this.text.lastIndexOf("\n") + 1;
    // Only a line that is whole can settle what is before it.
    if (lines === this.looked) return;
    this.looked = lines;
    const rest = this.text.slice(this.at, lines);
    if (rest === "" || (rest.length > TAIL_MAX && !this.hasBreak(rest))) return;
    const all = starts(parse(rest, copyOf(this.env, "lines")));
    const open = all.at(-1);
    if (all.length < 2 || !open || open.line === 0) return;
    const final = rest.slice(0, offsetOfLine(rest, open.line));
    this.keep(parse(final, this.env));
    this.at += final.length;
    this.unite();
  }

  /** A large open block can only end where there is an empty line or a fence. */
  private hasBreak(rest: string): boolean {
    return rest.length < BLOCK_MAX && /\n[ \t]*\n|\n {0,3}(?:`{3}|~{3})/.test(rest.slice(-4_096));
  }

  private pieceOf(text: string): Block {
    const tokens = parse(text, copyOf(this.env, "settled"));
    this.outline.copy().mark(tokens);
    return { key: this.keys + 1 + this.pieces.length, tokens };
  }

  private tail(): Pick<Split, "tail" | "notes"> {
    const { notes } = this.env;
    const { piece, rest: open } = this.long.cut(this.text.slice(this.at), TAIL_MAX);
    if (piece !== null) this.pieces = [...this.pieces, this.pieceOf(piece)];
    const key = this.keys + 1 + this.pieces.length; // As when it is finished.
    if (open.length > TAIL_MAX && !(FENCE.test(open) && open.length < BLOCK_MAX))
      return { tail: { key, tokens: [], plain: open }, notes };
    const drawn = cutTail(open);
    if (drawn.trim() === "") return { tail: null, notes };
    const { tokens, env } = parseTail(drawn, this.env);
    this.outline.copy().mark(tokens);
    return { tail: { key, tokens }, notes: env.notes };
  }
}

/** Texts that were drawn lately; a list that shows a message again does not parse it again. What is parsed is ten times its text. */
const KEPT_MAX = 400;
const KEPT_CHARS_MAX = 600_000;
const kept = new Map<string, Splitter>();

export function splitterOf(id: string): Splitter {
  const known = kept.get(id);
  const splitter = known ?? new Splitter();
  // The newest is the last.
  kept.delete(id);
  kept.set(id, splitter);
  if (!known) forgetOld();
  return splitter;
}

function forgetOld(): void {
  let chars = 0;
  let count = 0;
  for (const [id, { length }] of [...kept].reverse()) {
    chars += length;
    count += 1;
    if (count > KEPT_MAX || (count > 1 && chars > KEPT_CHARS_MAX)) kept.delete(id);
  }
}
