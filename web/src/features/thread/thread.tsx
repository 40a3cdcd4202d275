/** The conversation: its messages and the composer, with its end kept in view. */
import { ArrowDown } from "lucide-react";
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";
import { Virtualizer, type VirtualizerHandle } from "virtua";
import type { Shown } from "../../chat/model";
import { shown as shownOf } from "../../chat/tree";
import { useChat, useChatStore } from "../../chat/use-chat";
import { usePrinting } from "../../components/use-printing";
import { useText } from "../../i18n/use-text";
import { loadMarkdown } from "./answer-text";
import { ChoiceNote } from "./choice-note";
import { Composer } from "./composer";
import { Empty } from "./empty";
import { useFollowLatch } from "./follow-latch";
import { Item } from "./item";
import { Notice } from "./notice";
import { Paper } from "./paper";
import css from "./thread.module.css";

/** Up to this number all messages are rendered, so that the browser's search finds them. */
const PLAIN_MAX = 200;
const NONE: Shown[] = [];

export function Thread({ conversation, target }: { conversation: string; target: string | null }) {
  const { words } = useText();
  const store = useChatStore();
  const messages = useChat((state) => {
    const open = state.open[conversation];
    return open ? shownOf(open) : NONE;
  });
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const list = useRef<VirtualizerHandle>(null);
  const [editing, setEditing] = useState<string | null>(null);
  const isEmpty = messages.length === 0;
  const { isFollowing, isMoreBelow, follow, letGo } = useFollowLatch(scroller, content, !isEmpty);
  const isLong = messages.length > PLAIN_MAX;
  const isPrinting = usePrinting();
  // Space for the banner, unless that would move the text being read.
  const needsRoom = useChat((state) => state.linkTroubled) && isFollowing;

  useEffect(() => void loadMarkdown(), []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: another conversation begins at its end.
  useLayoutEffect(() => {
    setEditing(null);
    if (isLong) list.current?.scrollToIndex(messages.length - 1, { align: "end" });
    follow();
  }, [conversation, isLong]);

  const led = useRef<string | null>(null);
  useEffect(() => {
    const index = target === null ? -1 : messages.findIndex(({ id }) => id === target);
    // Once per target: later messages do not scroll back to it.
    if (target === null) led.current = null;
    if (index < 0 || led.current === target) return;
    led.current = target;
    letGo();
    if (isLong) list.current?.scrollToIndex(index, { align: "start" });
    else document.querySelector(`[data-message="${CSS.escape(target ?? "")}"]`)?.scrollIntoView();
  }, [target, messages, isLong, letGo]);

  const editLast = useCallback(() => {
    const open = store.getState().open[conversation];
    const last = messages.findLast(({ id }) => open?.messages[id]?.role === "user");
    if (last) setEditing(last.id);
  }, [store, conversation, messages]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: only when it begins.
  useEffect(() => {
    if (editing === null) return;
    // It may be far above: the edited message stays in view, whatever arrives at the end.
    letGo();
    const article = document.querySelector(`[data-message="${CSS.escape(editing)}"]`);
    const index = article ? -1 : messages.findIndex(({ id }) => id === editing);
    if (article) article.scrollIntoView({ block: "nearest" });
    else if (index >= 0) list.current?.scrollToIndex(index, { align: "nearest" });
  }, [editing, letGo]);

  const item = (shown: Shown) => (
    <Item
      key={shown.id}
      conversation={conversation}
      shown={shown}
      isEditing={editing === shown.id}
      onEdit={setEditing}
      onAsk={follow}
    />
  );
  return (
    <div className={css.thread} data-empty={isEmpty || undefined} data-room={needsRoom || undefined}>
      <div
        ref={scroller}
        className={css.scroller}
        role="log"
        aria-label={words.conversation}
        aria-live="off"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keys.
        tabIndex={0}
      >
        <div ref={content} className={css.content}>
          {isEmpty && <Empty conversation={conversation} />}
          {isLong ? (
            <>
              <div data-screen>
                <Virtualizer ref={list} scrollRef={scroller} data={messages}>
                  {item}
                </Virtualizer>
              </div>
              {isPrinting && <Paper conversation={conversation} messages={messages} />}
            </>
          ) : (
            messages.map(item)
          )}
        </div>
      </div>
      <div className={css.foot}>
        {!isFollowing && isMoreBelow && !isEmpty && (
          <button
            type="button"
            className={css.latest}
            aria-label={words.latest}
            title={words.latest}
            onClick={follow}
          >
            <ArrowDown aria-hidden size={18} />
          </button>
        )}
        <Notice />
        <ChoiceNote conversation={conversation} />
        <Composer conversation={conversation} onSend={follow} onEditLast={editLast} />
      </div>
    </div>
  );
}
