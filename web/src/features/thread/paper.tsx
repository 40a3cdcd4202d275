/** A long conversation for printing: the screen renders only the visible part, and only that would be printed. */

import type { Shown } from "../../chat/model";
import { useChat } from "../../chat/use-chat";
import { useText } from "../../i18n/use-text";
import { Item } from "./item";
import css from "./thread.module.css";

/**
 * Maximum characters, rendered at once before the print layout: more would block the browser for too long. The newest
 * are kept.
 */
export const PAPER_MESSAGES_MAX = 1_000;
export const PAPER_TEXT_MAX = 1_000_000;

/** Number of the oldest messages that are left out, by the lengths of their texts. */
export function leftOut(lengths: readonly number[]): number {
  let room = PAPER_TEXT_MAX;
  let kept = 0;
  for (let at = lengths.length - 1; at >= 0 && kept < PAPER_MESSAGES_MAX; at -= 1) {
    room -= lengths[at] ?? 0;
    // The newest one is printed even if it is larger than the limit.
    if (room < 0 && kept > 0) break;
    kept += 1;
  }
  return lengths.length - kept;
}

const nothing = () => {};

export function Paper({ conversation, messages }: { conversation: string; messages: Shown[] }) {
  const { words, fill } = useText();
  const missing = useChat((state) => {
    const known = state.open[conversation]?.messages ?? {};
    return leftOut(
      messages.map(({ id }) => {
        const message = state.writing[id] ?? known[id];
        if (!message) return 0;
        return message.text.length + (message.role === "assistant" ? message.reasoning.length : 0);
      }),
    );
  });
  return (
    <div data-paper>
      {missing > 0 && <p className={css.missing}>{fill(words.notPrinted, { count: missing })}</p>}
      {messages.slice(missing).map((shown) => (
        <Item
          key={shown.id}
          conversation={conversation}
          shown={shown}
          isEditing={false}
          onEdit={nothing}
          onAsk={nothing}
        />
      ))}
    </div>
  );
}
