/** State of the parser between blocks, and its assumption about the end of the text. */
import type { Env as MarkdownEnv } from "markdown-it";

/**
 * `whole`: the text is complete. `lines`: more lines follow. `settled`: more follows, but changes nothing here. `tail`:
 * the last line is incomplete, and is rendered as it will probably look.
 */
export type Mode = "whole" | "lines" | "settled" | "tail";

/** A footnote, by its label. */
export interface Note {
  number: string;
  /** References so far: each has its own id to link back to. */
  refs: number;
  isDefined: boolean;
}

export interface Env extends MarkdownEnv {
  mode: Mode;
  notes: Map<string, Note>;
  /** In a tail: the incomplete line; -1 if there is none. */
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

/** A copy that is discarded: parsing with it has no side effects. */
export const copyOf = (env: Env, mode: Mode): Env => ({
  ...env,
  mode,
  references: { ...env.references },
  notes: new Map([...env.notes].map(([label, note]) => [label, { ...note }])),
});
