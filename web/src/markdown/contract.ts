/** The interface between the thread and the renderer. */

export interface Labels {
  copy: string;
  copied: string;
  copyFailed: string;
  image: string;
  wrap: string;
  code: string;
  table: string;
  done: string;
  open: string;
  /** Placeholder of a formula that is incomplete. */
  formula: string;
  /** Next to the source of a formula that is too long. */
  longFormula: string;
  mermaid: string;
  details: string;
  notes: string;
  /** Before its number. */
  note: string;
  back: string;
}

export interface MarkdownProps {
  /** Id of the text, under which its parsed blocks are cached, also while it is not mounted. */
  id: string;
  text: string;
  /** No more will come. */
  done: boolean;
  /** Translated by the caller. */
  labels: Labels;
}
