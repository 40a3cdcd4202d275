/** A message of the user. */
import { Pencil } from "lucide-react";
import { useRef, useState } from "react";
import type { Shown, UserMessage } from "../../chat/model";
import { isContinued } from "../../chat/tree";
import { useActions, useChat } from "../../chat/use-chat";
import { useEscapeWithin } from "../../components/escape";
import { useIme } from "../../components/use-ime";
import { useText } from "../../i18n/use-text";
import { BranchPicker } from "./branch-picker";
import { CopyButton } from "./copy-button";
import css from "./message.module.css";

interface Props {
  conversation: string;
  message: UserMessage;
  shown: Shown;
  isEditing: boolean;
  onEdit: (id: string | null) => void;
  /** A question was sent: its answer will appear at the end. */
  onAsk: () => void;
}

function Editor({ conversation, message, onEdit, onAsk }: Omit<Props, "shown" | "isEditing">) {
  const { words } = useText();
  const actions = useActions();
  const { fieldProps, isEnter } = useIme();
  const form = useRef<HTMLFormElement>(null);
  const [text, setText] = useState(message.text);
  const sendKey = useChat((state) => state.settings.sendKey);
  const save = () => {
    if (text.trim() === "") return;
    onEdit(null);
    if (text === message.text) return;
    actions.edit(conversation, message.id, text);
    onAsk();
  };
  useEscapeWithin(form, () => {
    onEdit(null);
    return true;
  });
  return (
    <form
      ref={form}
      className={css.editor}
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <textarea
        // biome-ignore lint/a11y/noAutofocus: the person has just asked to write here.
        autoFocus
        aria-label={words.editLabel}
        value={text}
        rows={3}
        dir="auto"
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          if (isEnter(event) && (sendKey === "enter" ? !event.shiftKey : event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            save();
          }
        }}
        {...fieldProps}
      />
      <span className={css.editorButtons}>
        <button type="button" className="quiet" onClick={() => onEdit(null)}>
          {words.cancel}
        </button>
        <button type="submit" className="strong" disabled={text.trim() === ""}>
          {words.save}
        </button>
      </span>
    </form>
  );
}

/** Only if there is nothing below, which would be lost with it. */
function TakeBack({ conversation, message }: { conversation: string; message: string }) {
  const { words } = useText();
  const actions = useActions();
  const isLast = useChat((state) => {
    const open = state.open[conversation];
    return open === undefined || !isContinued(open, message);
  });
  if (!isLast) return null;
  return (
    <button type="button" className="link" onClick={() => actions.takeBack(conversation, message)}>
      {words.takeBack}
    </button>
  );
}

function Delivery({ conversation, message }: { conversation: string; message: UserMessage }) {
  const { words } = useText();
  const actions = useActions();
  // Not during short interruptions, nor while another gateway is being found.
  const isCutOff = useChat((state) => state.linkTroubled && state.link.kind !== "live");
  const takeBack = <TakeBack conversation={conversation} message={message.id} />;
  if (message.delivery === "queued" && isCutOff) {
    return (
      <p className={css.delivery}>
        {words.queued} {takeBack}
      </p>
    );
  }
  if (message.delivery !== "stale") return null;
  return (
    <p className={css.delivery}>
      {words.stale}{" "}
      <button type="button" className="link" onClick={() => actions.resend(conversation, message.id)}>
        {words.send}
      </button>{" "}
      {takeBack}
    </p>
  );
}

export function UserMessageView({ conversation, message, shown, isEditing, onEdit, onAsk }: Props) {
  const { words } = useText();
  if (isEditing) return <Editor {...{ conversation, message, onEdit, onAsk }} />;
  return (
    <div className={css.userRow}>
      <div className={css.bubble} data-part="text" dir="auto">
        {message.text}
      </div>
      <div className={css.tools} data-part="tools">
        <CopyButton text={message.text} />
        <button
          type="button"
          className="icon"
          aria-label={words.edit}
          title={words.edit}
          onClick={() => onEdit(message.id)}
        >
          <Pencil aria-hidden size={16} />
        </button>
        {/* Last, next to the bubble: the other buttons are hidden until the pointer hovers. */}
        <BranchPicker conversation={conversation} shown={shown} />
      </div>
      <Delivery conversation={conversation} message={message} />
    </div>
  );
}
