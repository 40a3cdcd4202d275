/** Splits a growing text into final blocks and one that may still change. */
import { copyOf, type Env, type Note, newEnv } from "./env";
import { LongTail } from "./long-tail";
import { Outline } from "./outline";
import { parse, parseTail, type Token } from "./parser";
import { cutTail } from "./tail";

/** A block that is rendered once. */
export interface Block {
  /** Unique in its text, and stable, also from open to complete. */
  key: number;
  tokens: Token[];
  /** Shown as source: too large to be parsed repeatedly. */
  plain?: string;
}

export interface Split {
  blocks: Block[];
  tail: Block | null;
  /** Footnotes by label, as far as known. */
  notes: ReadonlyMap<string, Note>;
}

/** A larger growing block is rendered in pieces, or as source if it has none: a line of a megabyte must not block the page. */
export const TAIL_MAX = 20_000;
/** A larger complete block is shown as source. */
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
  /** End of the final blocks. */
  private at = 0;
  /** End of the lines examined so far. */
  private looked = 0;
  private env: Env = newEnv();
  private outline = new Outline();
  private long = new LongTail();
  /** Pieces of a long tail, until it is complete. */
  private pieces: Block[] = [];
  private blocks: Block[] = [];
  private keys = 0;
  private isDone = false;
  private last: Split = { blocks: [], tail: null, notes: new Map() };

  get length(): number {
    return this.text.length;
  }

  /** Updates the text. One that does not start with the previous text resets everything. */
  update(text: string, done: boolean): Split {
    if (text === this.text && done === this.isDone) return this.last;
    if (this.at > 0 && !this.continues(text)) this.reset();
    else if (this.isDone) {
      // It goes on: its last block was none. The blocks keep their keys and render again in place.
      this.reset();
      this.keys = 0;
    }
    this.text = text;
    this.isDone = done;
    this.settle(done);
    const end = done ? { tail: null, notes: this.env.notes } : this.tail();
    const blocks = this.pieces.length > 0 ? [...this.blocks, ...this.pieces] : this.blocks;
    this.last = { blocks, ...end };
    return this.last;
  }

  /** Usually text is appended: only the seam and the beginning are compared. */
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

  /** A complete block replaces its pieces. */
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

  /** Advances `at` over everything that can no longer change. */
  private settle(done: boolean): void {
    if (done) {
      // A late or missing definition changes earlier blocks.
      if (this.at > 0 && (this.env.notes.size > 0 || DEFINITION.test(this.text))) {
        this.reset();
        // The blocks keep their keys and render again in place.
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
    // Only a complete line can finalize the text before it.
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

/** Recently rendered texts, so that showing a message again does not parse it again. A parsed text takes ten times its size. */
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
