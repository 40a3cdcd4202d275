/** Below an answer: its speed and size. */
import { Fragment } from "react";
import type { AssistantMessage } from "../../chat/model";
import { useChat } from "../../chat/use-chat";
import { useText } from "../../i18n/use-text";
import css from "./message.module.css";

export function UsageLine({ answer }: { answer: AssistantMessage }) {
  const { words, fill, number, duration } = useText();
  const { firstTokenMs, durationMs, usage } = answer;
  const model = useChat(
    ({ config }) => config?.models.find(({ id }) => id === answer.model)?.title ?? answer.model,
  );
  const figures: string[] = [];
  // Zero means a time below the clock's resolution, for a stopped answer: not shown.
  if (firstTokenMs) figures.push(fill(words.firstToken, { time: duration(firstTokenMs) }));
  const tokens = usage?.output_tokens;
  if (tokens !== undefined) {
    const writing = (durationMs ?? 0) - (firstTokenMs ?? 0);
    if (writing > 0) figures.push(fill(words.speed, { rate: number((tokens * 1000) / writing, 1) }));
    figures.push(fill(words.tokens, { count: tokens }));
  }
  if (!model && figures.length === 0) return null;
  // Lines break between figures, never between a number and its unit.
  return (
    <p className={css.usage} data-part="usage">
      {model}
      {figures.map((figure, at) => (
        <Fragment key={figure}>
          {(model || at > 0) && "\u00a0· "}
          <span>{figure}</span>
        </Fragment>
      ))}
    </p>
  );
}
