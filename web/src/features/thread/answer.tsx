/** An answer: thinking, text, how it ended, and what one can do about it. */
import { RefreshCw } from "lucide-react";
import type { AssistantMessage, Shown } from "../../chat/model";
import { isRunning, useActions } from "../../chat/use-chat";
import { useText } from "../../i18n/use-text";
import { AnswerText } from "./answer-text";
import { BranchPicker } from "./branch-picker";
import { CopyButton } from "./copy-button";
import css from "./message.module.css";
import { Reasoning } from "./reasoning";
import { UsageLine } from "./usage-line";

function News({ answer }: { answer: AssistantMessage }) {
  const { words, fill } = useText();
  if (answer.queuePosition !== undefined) {
    return <p className={css.news}>{fill(words.position, { position: answer.queuePosition })}</p>;
  }
  if (answer.retrying)
    return <p className={css.news}>{fill(words.retrying, { attempt: answer.retrying.attempt })}</p>;
  if (answer.text !== "" || answer.reasoning !== "") return null;
  return (
    <p className={css.dots}>
      <span className="offscreen">{words.waiting}</span>
      <i aria-hidden />
      <i aria-hidden />
      <i aria-hidden />
    </p>
  );
}

function Ending({ conversation, answer }: { conversation: string; answer: AssistantMessage }) {
  const { words } = useText();
  const actions = useActions();
  const again = () =>
    answer.text === "" && answer.reasoning === ""
      ? actions.resend(conversation, answer.parent)
      : actions.regenerate(conversation, answer.id);
  if (answer.takenOver) {
    return (
      <p className={css.ending}>
        {words.takenOver}{" "}
        <button type="button" className="link" onClick={() => actions.follow(conversation)}>
          {words.followHere}
        </button>
      </p>
    );
  }
  if (answer.outcome === "failed") {
    const code = answer.fault?.code ?? "";
    return (
      <p className={css.fault} data-code={code}>
        {words.faults[code] ?? (answer.fault?.text || words.failed)}{" "}
        <button type="button" className="link" onClick={again}>
          {words.retry}
        </button>
      </p>
    );
  }
  if (answer.outcome === "stopped") return <p className={css.ending}>{words.stopped}</p>;
  if (answer.finishReason === "length") return <p className={css.ending}>{words.cut}</p>;
  return null;
}

export function AnswerView(props: { conversation: string; answer: AssistantMessage; shown: Shown }) {
  const { conversation, answer, shown } = props;
  const { words, fill } = useText();
  const actions = useActions();
  const running = isRunning(answer) && !answer.takenOver;
  return (
    <div className={css.answer} aria-busy={running}>
      {answer.omittedTurns !== undefined && (
        <p className={css.news}>{fill(words.omitted, { count: answer.omittedTurns })}</p>
      )}
      {answer.reasoning !== "" && <Reasoning answer={answer} isRunning={running} />}
      <div data-part="text">
        {answer.text !== "" && <AnswerText id={answer.id} text={answer.text} done={!running} />}
      </div>
      {running && <News answer={answer} />}
      {!running && (
        <>
          <Ending conversation={conversation} answer={answer} />
          <UsageLine answer={answer} />
          <div className={css.tools}>
            <BranchPicker conversation={conversation} shown={shown} />
            {answer.text !== "" && <CopyButton text={answer.text} />}
            <button
              type="button"
              className="icon"
              aria-label={words.regenerate}
              title={words.regenerate}
              onClick={() => actions.regenerate(conversation, answer.id)}
            >
              <RefreshCw aria-hidden size={16} />
            </button>
          </div>
        </>
      )}
    </div>
  );
}
