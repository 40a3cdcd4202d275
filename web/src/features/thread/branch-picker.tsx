/** Switches between the versions of a message: ‹ 2/3 ›. */
import { ChevronLeft, ChevronRight } from "lucide-react";
import type { Shown } from "../../chat/model";
import { useActions } from "../../chat/use-chat";
import { useText } from "../../i18n/use-text";
import css from "./message.module.css";

export function BranchPicker({ conversation, shown }: { conversation: string; shown: Shown }) {
  const { words, fill } = useText();
  const actions = useActions();
  if (shown.siblings.length < 2) return null;
  const go = (step: number) => {
    const id = shown.siblings[shown.index + step];
    if (id !== undefined) actions.choose(conversation, id);
  };
  return (
    <span className={css.branches}>
      <button
        type="button"
        className="icon"
        aria-label={words.previous}
        disabled={shown.index === 0}
        onClick={() => go(-1)}
      >
        <ChevronLeft aria-hidden size={16} />
      </button>
      <span>{fill(words.version, { index: shown.index + 1, count: shown.siblings.length })}</span>
      <button
        type="button"
        className="icon"
        aria-label={words.next}
        disabled={shown.index === shown.siblings.length - 1}
        onClick={() => go(1)}
      >
        <ChevronRight aria-hidden size={16} />
      </button>
    </span>
  );
}
