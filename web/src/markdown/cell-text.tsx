/** Content of a table cell: keeps words together that browsers would break. */
import type { ReactNode } from "react";
import { compounds, WORD_MAX } from "./cell";
import css from "./markdown.module.css";
import type { Token } from "./parser";

export const plainText = (tokens: Token[]): string =>
  tokens.map(({ content, children }) => (children ? plainText(children) : content)).join("");

export const wholeIn = (word: string): string | undefined =>
  word.length <= WORD_MAX ? css.whole : undefined;

export const cellText = (text: string): ReactNode => {
  const pieces = compounds(text);
  if (pieces.length === 1) return text;
  return pieces.map((piece, at) =>
    at % 2 === 0 ? (
      piece
    ) : (
      <span key={at} className={css.whole}>
        {piece}
      </span>
    ),
  );
};
