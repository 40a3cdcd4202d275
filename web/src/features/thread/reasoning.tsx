/** The model's reasoning: open during reasoning, closed when the answer starts, or as the user chose. */
import { useState } from "react";
import type { AssistantMessage } from "../../chat/model";
import { usePrinting } from "../../components/use-printing";
import { useText } from "../../i18n/use-text";
import caret from "./caret.module.css";
import css from "./message.module.css";

export function Reasoning({ answer, isRunning }: { answer: AssistantMessage; isRunning: boolean }) {
  const { words, fill, duration } = useText();
  const [choice, setChoice] = useState<boolean | null>(null);
  const isReasoning = isRunning && answer.text === "";
  const isPrinting = usePrinting();
  const isOpen = isPrinting || (choice ?? isReasoning);
  const title = isReasoning
    ? words.reasoning
    : answer.reasoningMs === undefined
      ? words.reasoningTitle
      : fill(words.reasonedFor, { time: duration(answer.reasoningMs) });
  return (
    <details className={css.reasoning} data-part="reasoning" open={isOpen}>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: a summary is a button to the browser. */}
      <summary
        onClick={(event) => {
          event.preventDefault();
          setChoice(!isOpen);
        }}
      >
        {title}
      </summary>
      {isOpen && (
        <div
          className={isReasoning ? `${css.reasoningText} ${caret.reasoningText}` : css.reasoningText}
          dir="auto"
        >
          {answer.reasoning}
        </div>
      )}
    </details>
  );
}
