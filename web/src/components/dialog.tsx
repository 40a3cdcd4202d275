/** A native dialog: the browser traps the focus, closes it on Escape and restores the focus. */
import { X } from "lucide-react";
import { type ReactNode, useEffect, useId, useRef } from "react";
import css from "./dialog.module.css";

export function Dialog(props: {
  title: string;
  closeLabel: string;
  onClose: () => void;
  children: ReactNode;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const element = dialog.current;
    if (element && !element.open) element.showModal();
  }, []);
  return (
    <dialog ref={dialog} className={css.dialog} aria-labelledby={id} onClose={props.onClose}>
      <header className={css.head}>
        <h2 id={id}>{props.title}</h2>
        <button
          type="button"
          className="icon"
          aria-label={props.closeLabel}
          onClick={() => dialog.current?.close()}
        >
          <X aria-hidden size={18} />
        </button>
      </header>
      {props.children}
    </dialog>
  );
}
