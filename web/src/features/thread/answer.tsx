/** An answer: reasoning, text, how it ended, and its actions. */
import { RefreshCw } from "lucide-react";
import { isAtWork } from "../../chat/at-work";
import type { AssistantMessage, Shown } from "../../chat/model";
import { isRunning } from "../../chat/model";
import { useActions, useChat } from "../../chat/use-chat";
import { useSilence } from "../../chat/use-silence";
import { useText } from "../../i18n/use-text";
import { AnswerText } from "./answer-text";
import { BranchPicker } from "./branch-picker";
import caret from "./caret.module.css";
import { CopyButton } from "./copy-button";
import { Ending, type EndingProps } from "./ending";
import css from "./message.module.css";
import { Reasoning } from "./reasoning";
import { UsageLine } from "./usage-line";

function News({ conversation, answer }: { conversation: string; answer: AssistantMessage }) {
  const { words, fill } = useText();
  const isSilent = useSilence(conversation, answer.id);
  // If it is not being worked on, the question or the banner says so.
  const isAsked = useChat((state) => isAtWork(state, conversation, answer));
  if (answer.queuePosition !== undefined) {
    return <p className={css.news}>{fill(words.position, { position: answer.queuePosition })}</p>;
  }
  if (answer.moving) return <p className={css.news}>{words.moving}</p>;
  if (answer.retrying)
    return <p className={css.news}>{fill(words.retrying, { attempt: answer.retrying.attempt })}</p>;
  if (!isAsked) return <p className={css.pulse} />;
  const isBegun = answer.text !== "" || answer.reasoning !== "";
  return (
    <p className={css.pulse} data-part="pulse">
      {!isBegun && (
        <>
          <i aria-hidden />
          <i aria-hidden />
          <i aria-hidden />
        </>
      )}
      {isSilent ? (
        <span>{words.stillWaiting}</span>
      ) : (
        !isBegun && <span className="offscreen">{words.waiting}</span>
      )}
    </p>
  );
}

interface Props extends EndingProps {
  shown: Shown;
}

export function AnswerView({ conversation, answer, shown, onEdit, onAsk }: Props) {
  const { words, fill } = useText();
  const actions = useActions();
  const running = isRunning(answer) && !answer.takenOver;
  // A failed answer has its own action, or none; one that is followed elsewhere is not finished.
  const hasEnded = answer.outcome === "done" || answer.outcome === "stopped";
  const isCarried = useChat((state) => isAtWork(state, conversation, answer));
  const isWriting = isCarried && running && answer.text !== "";
  return (
    <div className={css.answer} aria-busy={running}>
      {answer.omittedTurns !== undefined && (
        <p className={css.news}>{fill(words.omitted, { count: answer.omittedTurns })}</p>
      )}
      {answer.restartedAt !== undefined && <p className={css.news}>{words.restarted}</p>}
      {answer.reasoning !== "" && <Reasoning answer={answer} isRunning={running} />}
      <div data-part="text" className={isWriting ? caret.caret : undefined}>
        {answer.text !== "" && <AnswerText id={answer.id} text={answer.text} done={!running} />}
      </div>
      {running && <News conversation={conversation} answer={answer} />}
      {!running && (
        <>
          <Ending {...{ conversation, answer, onEdit, onAsk }} />
          <div className={css.tools} data-part="tools">
            <BranchPicker conversation={conversation} shown={shown} />
            {answer.text !== "" && <CopyButton text={answer.text} />}
            {hasEnded && (
              <button
                type="button"
                className="icon"
                aria-label={words.regenerate}
                title={words.regenerate}
                onClick={() => {
                  actions.regenerate(conversation, answer.id);
                  onAsk();
                }}
              >
                <RefreshCw aria-hidden size={16} />
              </button>
            )}
            <UsageLine answer={answer} />
          </div>
        </>
      )}
    </div>
  );
}
