/** The composer. Drafts survive a reload, and Enter respects compositions. */
import { ArrowUp, Square } from "lucide-react";
import { type KeyboardEvent, useEffect, useLayoutEffect, useRef, useState } from "react";
import { isAnswering } from "../../chat/model";
import { useActions, useChat } from "../../chat/use-chat";
import { useEscapeWithin } from "../../components/escape";
import { useIme } from "../../components/use-ime";
import { useText } from "../../i18n/use-text";
import { ChoiceTools } from "./choice-tools";
import css from "./composer.module.css";
import { FilesNote } from "./files-note";

const encoder = new TextEncoder();
const ON_TOUCH = window.matchMedia?.("(hover: none)") ?? { matches: false };
const GROWS_ITSELF = typeof CSS !== "undefined" && CSS.supports("field-sizing", "content");

interface Props {
  conversation: string;
  onSend: () => void;
  onEditLast: () => void;
}

export function Composer({ conversation, onSend, onEditLast }: Props) {
  const { words, fill } = useText();
  const actions = useActions();
  const { fieldProps, owns, isEnter } = useIme();
  const field = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState(() => actions.draft(conversation));
  const sendKey = useChat((state) => state.settings.sendKey);
  const bytesMax = useChat((state) => state.config?.limits.messageBytes ?? 65_536);
  const returned = useChat((state) => state.returned);
  const running = useChat((state) => isAnswering(state.open[conversation]));
  const over = text.length * 3 > bytesMax ? Math.max(0, encoder.encode(text).length - bytesMax) : 0;
  const canSend = text.trim() !== "" && over === 0;

  useEffect(() => {
    setText(actions.draft(conversation));
    // On a phone, focusing would open the keyboard over the text.
    if (!ON_TOUCH.matches) field.current?.focus({ preventScroll: true });
  }, [actions, conversation]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: a text that came back is in the draft.
  useEffect(() => {
    if (returned > 0) setText(actions.draft(conversation));
  }, [returned]);

  useEffect(() => {
    performance.mark("composer-ready");
    document.documentElement.dataset.ready = "";
  }, []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the text.
  useLayoutEffect(() => {
    const element = field.current;
    if (!element || GROWS_ITSELF) return;
    element.style.blockSize = "auto";
    element.style.blockSize = `${element.scrollHeight}px`;
  }, [text]);

  useEscapeWithin(field, () => {
    if (running) actions.stop(conversation);
    return running;
  });
  const write = (value: string) => {
    setText(value);
    actions.saveDraft(conversation, value);
  };
  const send = () => {
    if (!canSend) return;
    actions.send(conversation, text);
    setText("");
    onSend();
  };
  const onKeyDown = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    if (event.key === "ArrowUp" && text === "" && !owns(event)) {
      event.preventDefault();
      onEditLast();
    } else if (isEnter(event)) {
      const withMod = event.ctrlKey || event.metaKey;
      const sends = sendKey === "enter" ? !event.shiftKey && !event.altKey : withMod;
      if (!sends) return;
      event.preventDefault();
      send();
    }
  };

  const hint =
    over > 0 ? fill(words.tooLong, { over }) : sendKey === "enter" ? words.hintEnter : words.hintModEnter;
  return (
    <form
      className={css.form}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div className={css.composer}>
        <textarea
          ref={field}
          id="composer"
          aria-label={words.message}
          aria-describedby="composer-hint"
          placeholder={words.placeholder}
          rows={1}
          value={text}
          onChange={(event) => write(event.target.value)}
          onKeyDown={onKeyDown}
          {...fieldProps}
          dir="auto"
          enterKeyHint={sendKey === "enter" ? "send" : "enter"}
        />
        <ChoiceTools conversation={conversation} />
        {running && (
          <button
            type="button"
            className={css.stop}
            aria-label={words.stop}
            onClick={() => actions.stop(conversation)}
          >
            <Square aria-hidden size={14} fill="currentColor" />
          </button>
        )}
        {(!running || text !== "") && (
          <button type="submit" className={css.send} aria-label={words.send} disabled={!canSend}>
            <ArrowUp aria-hidden size={18} />
          </button>
        )}
      </div>
      <FilesNote />
      <p id="composer-hint" className={over > 0 ? css.over : css.hint}>
        {hint}
      </p>
    </form>
  );
}
