/** The operator's notice above the composer. It can be dismissed, until there is another one. */
import { X } from "lucide-react";
import { useState } from "react";
import { useChat } from "../../chat/use-chat";
import { useText } from "../../i18n/use-text";
import { readLocal, writeLocal } from "../../storage/local";
import css from "./thread.module.css";

const KEY = "tidegate.notice";

export function Notice() {
  const { words } = useText();
  const notice = useChat((state) => state.operator.notice);
  const [putAway, setPutAway] = useState(() => readLocal(KEY));
  if (notice === "" || notice === putAway) return null;
  return (
    <aside className={css.notice} aria-label={words.notice} data-foreign>
      <p dir="auto">{notice}</p>
      <button
        type="button"
        className="icon"
        aria-label={words.putAway}
        title={words.putAway}
        onClick={() => {
          writeLocal(KEY, notice);
          setPutAway(notice);
        }}
      >
        <X aria-hidden size={16} />
      </button>
    </aside>
  );
}
