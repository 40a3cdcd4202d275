/** Footnotes for markdown-it: `[^1]` in a text, and `[^1]: …` with its content, anywhere. */
import type { MarkdownIt, StateBlock, StateCore, StateInline } from "markdown-it";
import type { Env, Note } from "./env";

const REFERENCE = /^\[\^([^\]\s]{1,60})\]/;
const DEFINITION = /^\[\^([^\]\s]{1,60})\]:[ \t]*/;
/** Shown as it is; other labels are numbered. */
const NUMBER = /^\d{1,3}$/;
/** Indentation of the further lines of a definition. */
const INDENT = 4;

function noteOf(env: Env, label: string): Note {
  const key = label.toLowerCase();
  const known = env.notes.get(key);
  if (known) return known;
  const note = { number: NUMBER.test(label) ? label : "", refs: 0, isDefined: false };
  env.notes.set(key, note);
  return note;
}

/** Notes are numbered in the order of their first reference. */
function number(env: Env, note: Note): string {
  if (note.number === "") {
    const numbered = [...env.notes.values()].filter((one) => one.number !== "").length;
    note.number = String(numbered + 1);
  }
  return note.number;
}

function reference(state: StateInline, isSilent: boolean): boolean {
  if (!state.src.startsWith("[^", state.pos)) return false;
  const found = REFERENCE.exec(state.src.slice(state.pos, state.pos + 70));
  const label = found?.[1];
  if (!found || label === undefined) return false;
  const env = state.env as Env;
  // `[^a-z]` without a definition is not a note; before the end of the text this is unknown.
  if (env.mode === "whole" && !NUMBER.test(label) && !env.notes.get(label.toLowerCase())?.isDefined)
    return false;
  if (!isSilent) {
    const note = noteOf(env, label);
    const token = state.push("note_reference", "sup", 0);
    token.meta = {
      label: label.toLowerCase(),
      number: number(env, note),
      nth: note.refs,
      isDefined: note.isDefined,
    };
    note.refs += 1;
  }
  state.pos += found[0].length;
  return true;
}

/** The label of the definition at the beginning of the line, and the start of its text. */
function opening(state: StateBlock, line: number): { label: string; from: number } | null {
  const start = (state.bMarks[line] ?? 0) + (state.tShift[line] ?? 0);
  if (!state.src.startsWith("[^", start)) return null;
  const found = DEFINITION.exec(state.src.slice(start, state.eMarks[line]));
  return found ? { label: (found[1] ?? "").toLowerCase(), from: start + found[0].length } : null;
}

function definition(state: StateBlock, startLine: number, endLine: number, isSilent: boolean): boolean {
  const env = state.env as Env;
  // Only at the beginning of a top-level line; in silent mode, it also ends the previous note.
  if (env.depth > 0 || (state.sCount[startLine] ?? 0) > 3 || (state.level > 0 && !isSilent)) return false;
  const found = opening(state, startLine);
  if (!found || isSilent) return found !== null;
  const note = noteOf(env, found.label);
  const opened = state.push("note_open", "li", 1);
  opened.meta = { label: found.label, number: "", isRepeated: note.isDefined };
  opened.map = [startLine, startLine];
  note.isDefined = true;
  inner(state, startLine, endLine, found.from);
  opened.map = [startLine, state.line];
  state.push("note_close", "li", -1);
  return true;
}

/** The text after the label, and indented lines, parsed separately. */
function inner(state: StateBlock, startLine: number, endLine: number, from: number): void {
  const { bMarks, tShift, sCount, blkIndent, parentType } = state;
  const kept = [bMarks[startLine], tShift[startLine], sCount[startLine]] as [number, number, number];
  bMarks[startLine] = from;
  tShift[startLine] = 0;
  sCount[startLine] = blkIndent + INDENT;
  state.blkIndent += INDENT;
  state.parentType = "blockquote";
  if (from < (state.eMarks[startLine] ?? 0)) state.md.block.tokenize(state, startLine, endLine);
  else state.line = startLine + 1;
  state.blkIndent = blkIndent;
  state.parentType = parentType;
  [bMarks[startLine], tShift[startLine], sCount[startLine]] = kept;
}

/** Notes without references are numbered last. */
function numberAll(state: StateCore): void {
  const env = state.env as Env;
  for (const token of state.tokens) {
    if (token.type !== "note_open") continue;
    token.meta = { ...token.meta, number: number(env, noteOf(env, String(token.meta?.label))) };
  }
}

export function notes(parser: MarkdownIt): void {
  parser.block.ruler.before("reference", "note_definition", definition, {
    alt: ["paragraph", "reference", "blockquote", "list"],
  });
  parser.inline.ruler.before("link", "note_reference", reference);
  parser.core.ruler.after("inline", "note_numbers", numberAll);
}
