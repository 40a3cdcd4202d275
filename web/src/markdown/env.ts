/** What the parser remembers from one block to the next, and what it may assume of the end of the text. */
import type { Env as MarkdownEnv } from "markdown-it";

/**
 * `whole`: nothing more comes. `lines`: more comes after these lines. `settled`: more comes, but changes nothing here.
 * `tail`: the last line is still being written, and is drawn as what it will probably be.
 */
export type Mode = "whole" | "lines" | "settled" | "tail";

/** A footnote, by its label. */
export interface Note {
  number: string;
  /** References so far: each has a name of its own to come back to. */
  refs: number;
  isDefined: boolean;
}

export interface Env extends MarkdownEnv {
  mode: Mode;
  notes: Map<string, Note>;
  /** In a tail: the line that is still being written; -1 where none is. */
  openLine: number;
  /** In a tail: the inline text that is being parsed ends where the tail does. */
  isOpenInline: boolean;
  /** `<details>` around this place. */
  depth: number;
}

export const newEnv = (): Env => ({
  mode: "settled",
  notes: new Map(),
  openLine: -1,
  isOpenInline: false,
  depth: 0,
});

/** A copy to be thrown away: what is parsed with it leaves no trace. */
export const copyOf = (env: Env, mode: Mode): Env => ({
  ...env,
  mode,
  references: { ...env.references },
  notes: new Map([...env.notes].map(([label, note]) => [label, { ...note }])),
});
