/** What the thread gives to the renderer. */

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
  /** In place of one that is still being written. */
  formula: string;
  /** Beside the source of one that is too long. */
  longFormula: string;
  mermaid: string;
  details: string;
  notes: string;
  /** Before its number. */
  note: string;
  back: string;
}

export interface MarkdownProps {
  /** Names the text: what was already parsed of it is kept under this name, also while it is not mounted. */
  id: string;
  text: string;
  /** No more will come. */
  done: boolean;
  /** Translated by whoever uses this. */
  labels: Labels;
}
