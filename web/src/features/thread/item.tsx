/** One message of the thread: when it changes, only it renders again. */
import { memo } from "react";
import type { Shown } from "../../chat/model";
import { useMessage } from "../../chat/use-chat";
import { useText } from "../../i18n/use-text";
import { AnswerView } from "./answer";
import css from "./message.module.css";
import { UserMessageView } from "./user-message";

interface Props {
  conversation: string;
  shown: Shown;
  isEditing: boolean;
  onEdit: (id: string | null) => void;
  onAsk: () => void;
}

export const Item = memo(function Item({ conversation, shown, isEditing, onEdit, onAsk }: Props) {
  const { words } = useText();
  const message = useMessage(conversation, shown.id);
  if (!message) return null;
  const name = message.role === "user" ? words.you : words.assistant;
  return (
    <article
      className={css.item}
      aria-label={name}
      data-message={message.id}
      data-role={message.role}
      data-outcome={message.role === "assistant" ? message.outcome : message.delivery}
    >
      <h2 className="offscreen">{name}</h2>
      {message.role === "user" ? (
        <UserMessageView {...{ conversation, message, shown, isEditing, onEdit, onAsk }} />
      ) : (
        <AnswerView {...{ conversation, answer: message, shown, onEdit, onAsk }} />
      )}
    </article>
  );
});
