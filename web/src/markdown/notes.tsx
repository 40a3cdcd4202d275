/** Footnotes: references in the text, and the notes at its end, linked both ways. */
import type { MouseEvent, ReactNode } from "react";
import type { Labels } from "./contract";
import css from "./markdown.module.css";
import type { Token } from "./parser";

/** Maximum number of back links of a note. */
const BACK_MAX = 10;

/** Ids are per message: another one may have notes with the same labels. */
const noteId = (message: string, label: string): string => `${message}-note-${label}`;
const referenceId = (message: string, label: string, nth: number): string =>
  `${message}-reference-${label}-${nth}`;

/** The address bar contains the conversation, so a link within the page must not change it. */
const jump = (id: string) => (event: MouseEvent) => {
  event.preventDefault();
  const target = document.getElementById(id);
  target?.scrollIntoView({ block: "center" });
  target?.focus({ preventScroll: true });
};

interface ReferenceProps {
  token: Token;
  message: string;
  labels: Labels;
}

export function NoteReference({ token, message, labels }: ReferenceProps) {
  const meta = token.meta ?? {};
  const label = String(meta.label);
  const number = String(meta.number);
  return (
    <sup className={css.reference}>
      {meta.isDefined === true ? (
        <a
          id={referenceId(message, label, Number(meta.nth))}
          href={`#${encodeURIComponent(noteId(message, label))}`}
          role="doc-noteref"
          aria-label={`${labels.note} ${number}`}
          onClick={jump(noteId(message, label))}
        >
          {number}
        </a>
      ) : (
        number
      )}
    </sup>
  );
}

/** The notes among the tokens of one block. */
export function notesOf(tokens: Token[]): Token[][] {
  const found: Token[][] = [];
  let from = -1;
  tokens.forEach((token, at) => {
    if (token.type === "note_open") from = at;
    if (token.type === "note_close" && from >= 0) found.push(tokens.slice(from, at));
  });
  return found;
}

interface NoteProps {
  token: Token;
  message: string;
  labels: Labels;
  /** References to it that are known. */
  refs: number;
  children: ReactNode;
}

/** A note with its number, and a back link per reference. */
export function Note({ token, message, labels, refs, children }: NoteProps) {
  const meta = token.meta ?? {};
  const label = String(meta.label);
  const isTarget = meta.isRepeated !== true;
  return (
    <li
      value={Number(meta.number)}
      id={isTarget ? noteId(message, label) : undefined}
      tabIndex={isTarget ? -1 : undefined}
    >
      {children}
      {Array.from({ length: isTarget ? Math.min(refs, BACK_MAX) : 0 }, (_, nth) => (
        <a
          key={nth}
          href={`#${encodeURIComponent(referenceId(message, label, nth))}`}
          role="doc-backlink"
          aria-label={nth === 0 ? labels.back : `${labels.back} (${nth + 1})`}
          onClick={jump(referenceId(message, label, nth))}
        >
          ↩
        </a>
      ))}
    </li>
  );
}
