/** Under an answer: how fast it came, and how much it was. */
import type { AssistantMessage } from "../../chat/model";
import { useText } from "../../i18n/use-text";
import css from "./message.module.css";

export function UsageLine({ answer }: { answer: AssistantMessage }) {
  const { words, fill, number, duration } = useText();
  const parts: string[] = [];
  if (answer.model) parts.push(answer.model);
  if (answer.firstTokenMs !== undefined)
    parts.push(fill(words.firstToken, { time: duration(answer.firstTokenMs) }));
  const tokens = answer.usage?.output_tokens;
  if (tokens !== undefined) {
    const writing = (answer.durationMs ?? 0) - (answer.firstTokenMs ?? 0);
    if (writing > 0) parts.push(fill(words.speed, { rate: number((tokens * 1000) / writing, 1) }));
    parts.push(fill(words.tokens, { count: tokens }));
  }
  if (parts.length === 0) return null;
  return (
    <p className={css.usage} data-part="usage">
      {parts.join(" · ")}
    </p>
  );
}
