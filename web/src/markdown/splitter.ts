/** Cuts a growing text into blocks that will not change any more and one that still may. */
import remend from "remend";
import { Outline } from "./outline";
import { type Env, parse, type Token } from "./parser";

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
}

/** A growing block that is larger is shown as it is until it is finished; a line of a megabyte must not stop the page. */
export const TAIL_MAX = 20_000;
/** A finished block that is larger stays as it is. */
export const BLOCK_MAX = 200_000;

const SEAM = 64;
const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m;
const FENCE = /^ {0,3}(?:`{3}|~{3})/;
const REPAIR = {
  // These change text that is whole; what is final must look as it did when it was the tail.
  comparisonOperators: false,
  singleTilde: false,
  htmlTags: false,
  setextHeadings: true,
  linkMode: "text-only",
  katex: false,
} as const;

const copyOf = (env: Env): Env =>
  ({ ...env, references: { ...(env.references as object | undefined) } }) as Env;

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
  private env: Env = {} as Env;
  private outline = new Outline();
  private blocks: Block[] = [];
  private keys = 0;
  private isDone = false;
  private last: Split = { blocks: [], tail: null };

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
    this.last = { blocks: this.blocks, tail: done ? null : this.tail() };
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
    this.env = {} as Env;
    this.outline = new Outline();
    this.blocks = [];
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
      // A definition that came late changes what was before it.
      if (this.at > 0 && DEFINITION.test(this.text)) this.reset();
      const rest = this.text.slice(this.at);
      if (rest.length > BLOCK_MAX) this.add([], rest);
      else this.keep(parse(rest, this.env));
      this.at = this.text.length;
      return;
    }
    const rest = this.text.slice(this.at, this.text.lastIndexOf("\n") + 1);
    if (rest === "" || (rest.length > TAIL_MAX && !this.hasBreak(rest))) return;
    const all = starts(parse(rest, copyOf(this.env)));
    const open = all.at(-1);
    if (all.length < 2 || !open || open.line === 0) return;
    const final = rest.slice(0, offsetOfLine(rest, open.line));
    this.keep(parse(final, this.env));
    this.at += final.length;
  }

  /** A large open block can only end where there is an empty line or a fence. */
  private hasBreak(rest: string): boolean {
    return rest.length < BLOCK_MAX && /\n[ \t]*\n|\n {0,3}(?:`{3}|~{3})/.test(rest.slice(-4_096));
  }

  private tail(): Block | null {
    const open = this.text.slice(this.at);
    if (open.trim() === "") return null;
    const key = this.keys + 1; // As when it is finished.
    if (open.length > TAIL_MAX && !(FENCE.test(open) && open.length < BLOCK_MAX))
      return { key, tokens: [], plain: open };
    const repaired = FENCE.test(open) ? open : remend(open, REPAIR);
    const tokens = parse(repaired, copyOf(this.env));
    this.outline.copy().mark(tokens);
    return { key, tokens };
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
