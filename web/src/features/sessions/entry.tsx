/** One conversation of the list, with its menu. */
import { Ellipsis } from "lucide-react";
import { useId, useRef, useState } from "react";
import type { Head } from "../../chat/model";
import { useActions, useChat } from "../../chat/use-chat";
import { download } from "../../components/copy";
import { useEscapeWithin } from "../../components/escape";
import { useIme } from "../../components/use-ime";
import { useText } from "../../i18n/use-text";
import css from "./sidebar.module.css";

const fileName = (title: string): string =>
  (title || "chat")
    .replace(/[\\/:*?"<>|\p{Cc}]+/gu, " ")
    .trim()
    .slice(0, 80);

function Renamer({ head, onDone }: { head: Head; onDone: () => void }) {
  const { words } = useText();
  const actions = useActions();
  const { fieldProps, isEnter } = useIme();
  const field = useRef<HTMLInputElement>(null);
  const [title, setTitle] = useState(head.title);
  const isOver = useRef(false);
  const done = (keep: boolean) => {
    if (isOver.current) return;
    isOver.current = true;
    if (keep) actions.rename(head.id, title);
    onDone();
  };
  useEscapeWithin(field, () => {
    done(false);
    return true;
  });
  return (
    <input
      ref={field}
      // biome-ignore lint/a11y/noAutofocus: the person has just asked to write here.
      autoFocus
      className={css.rename}
      aria-label={words.renameLabel}
      value={title}
      maxLength={200}
      onFocus={(event) => event.target.select()}
      onChange={(event) => setTitle(event.target.value)}
      {...fieldProps}
      onBlur={() => {
        fieldProps.onBlur();
        done(true);
      }}
      onKeyDown={(event) => {
        if (isEnter(event)) done(true);
      }}
    />
  );
}

export function Entry({ head, onOpen }: { head: Head; onOpen: (id: string) => void }) {
  const { words, fill } = useText();
  const actions = useActions();
  const isCurrent = useChat((state) => state.current === head.id);
  const [isRenaming, setIsRenaming] = useState(false);
  const [isOpen, setIsOpen] = useState(false);
  const menu = useRef<HTMLDivElement>(null);
  const id = useId();
  const title = head.title || words.untitled;
  const act = (action: () => void) => () => {
    menu.current?.hidePopover();
    action();
  };
  if (isRenaming) {
    return (
      <li>
        <Renamer head={head} onDone={() => setIsRenaming(false)} />
      </li>
    );
  }
  return (
    <li className={css.entry}>
      <button
        type="button"
        className={css.open}
        aria-current={isCurrent ? "page" : undefined}
        onClick={() => onOpen(head.id)}
        onDoubleClick={() => setIsRenaming(true)}
        dir="auto"
        title={title}
      >
        {title}
      </button>
      <button
        type="button"
        className={`icon ${css.more}`}
        aria-label={fill(words.more, { title })}
        aria-expanded={isOpen}
        popoverTarget={id}
      >
        <Ellipsis aria-hidden size={16} />
      </button>
      <div
        ref={menu}
        id={id}
        popover="auto"
        className={css.menu}
        onToggle={(event) => {
          const isNowOpen = event.newState === "open";
          setIsOpen(isNowOpen);
          const box = menu.current;
          const anchor = box?.previousElementSibling?.getBoundingClientRect();
          if (!isNowOpen || !box || !anchor) return;
          box.style.insetBlockStart = `${Math.min(anchor.bottom + 4, window.innerHeight - box.offsetHeight - 8)}px`;
          box.style.insetInlineStart = `${Math.min(anchor.left, window.innerWidth - box.offsetWidth - 8)}px`;
          box.querySelector("button")?.focus();
        }}
      >
        <button type="button" onClick={act(() => setIsRenaming(true))}>
          {words.rename}
        </button>
        <button
          type="button"
          onClick={act(async () => {
            const names = { user: words.you, assistant: words.assistant };
            download(`${fileName(title)}.md`, "text/markdown", await actions.exportMarkdown(head.id, names));
          })}
        >
          {words.exportMarkdown}
        </button>
        <button
          type="button"
          onClick={act(async () =>
            download(`${fileName(title)}.json`, "application/json", await actions.exportJson([head.id])),
          )}
        >
          {words.exportJson}
        </button>
        <button type="button" className={css.danger} onClick={act(() => actions.remove(head.id))}>
          {words.remove}
        </button>
      </div>
    </li>
  );
}
