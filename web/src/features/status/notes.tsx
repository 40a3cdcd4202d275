/** Permanent notices: simulated answers, failing storage, a newer page, a conversation that can be restored. */
import { useState } from "react";
import { useActions, useChat } from "../../chat/use-chat";
import { useText } from "../../i18n/use-text";
import css from "./status.module.css";

export function DemoNote() {
  const { words } = useText();
  const isSimulated = useChat((state) => state.config?.simulated === true);
  if (!isSimulated) return null;
  return (
    <span className={css.demo} title={words.simulatedHint}>
      <span className={css.wide}>{words.simulated}</span>
      <span className={css.narrow}>{words.simulatedShort}</span>
    </span>
  );
}

export function StorageNote() {
  const { words } = useText();
  const storage = useChat((state) => state.storage);
  if (storage === "ok") return null;
  return (
    <p className={css.note} role="status">
      {storage === "full" ? words.storageFull : words.storageBlocked}
    </p>
  );
}

/** The gateway was updated while this page was open. The page is not reloaded until the user asks for it. */
export function VersionNote() {
  const { words } = useText();
  const build = useChat((state) => state.config?.build ?? "");
  const [own, setOwn] = useState(build);
  if (own === "" && build !== "") setOwn(build);
  return (
    <div role="status">
      {own !== "" && build !== "" && build !== own && (
        <p className={css.note} data-testid="new-version">
          {words.newVersion}{" "}
          <button type="button" className="link" onClick={() => window.location.reload()}>
            {words.reload}
          </button>
        </p>
      )}
    </div>
  );
}

export function UndoToast() {
  const { words, fill } = useText();
  const actions = useActions();
  const removed = useChat((state) => state.removed);
  return (
    <div role="status" className={css.toasts}>
      {removed && (
        <div className={css.toast}>
          <span dir="auto">{fill(words.removed, { title: removed.title || words.untitled })}</span>
          <button type="button" className="link" onClick={() => actions.undoRemove()}>
            {words.undo}
          </button>
        </div>
      )}
    </div>
  );
}
