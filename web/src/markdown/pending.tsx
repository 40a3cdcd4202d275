/** Placeholder of an incomplete formula. */
import css from "./markdown.module.css";

export function Pending({ label, isBlock }: { label: string; isBlock: boolean }) {
  return <span className={isBlock ? css.pendingBlock : css.pending} role="img" aria-label={label} />;
}
