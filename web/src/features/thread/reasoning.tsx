/** What the model thought: open while it thinks, closed with the first word of the answer, and as the reader wants. */
import { useState } from "react";
import type { AssistantMessage } from "../../chat/model";
import { usePrinting } from "../../components/use-printing";
import { useText } from "../../i18n/use-text";
import caret from "./caret.module.css";
import css from "./message.module.css";

export function Reasoning({ answer, isRunning }: { answer: AssistantMessage; isRunning: boolean }) {
  const { words, fill, duration } = useText();
  const [choice, setChoice] = useState<boolean | null>(null);
  const isThinking = isRunning && answer.text === "";
  const isPrinting = usePrinting();
  const isOpen = isPrinting || (choice ?? isThinking);
  const title = isThinking
    ? words.thinking
    : answer.reasoningMs === undefined
      ? words.thoughts
      : fill(words.thought, { time: duration(answer.reasoningMs) });
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
        <div className={isThinking ? `${css.thoughts} ${caret.thoughts}` : css.thoughts} dir="auto">
          {answer.reasoning}
        </div>
      )}
    </details>
  );
}
