/** How an answer ended, unless it was completed, and the action that may help. */
import { canContinue } from "../../chat/continuation";
import type { AssistantMessage } from "../../chat/model";
import { remedyOf } from "../../chat/remedy";
import { useActions, useChat } from "../../chat/use-chat";
import { useText } from "../../i18n/use-text";
import { CopyButton } from "./copy-button";
import css from "./message.module.css";

export interface EndingProps {
  conversation: string;
  answer: AssistantMessage;
  /** Opens the question for editing. */
  onEdit: (id: string) => void;
  /** A question was sent: its answer will appear at the end. */
  onAsk: () => void;
}

/** Answer ids contain the run, which the gateway's log names too. */
const runOf = ({ fault, serverId }: AssistantMessage): string | undefined =>
  fault?.run ?? (serverId?.startsWith("msg-") ? serverId.slice("msg-".length) : undefined);

/** Details for the operator or the model service's support. */
function Details({ answer }: { answer: AssistantMessage }) {
  const { words } = useText();
  const run = runOf(answer);
  const known: [name: string, label: string, value: string | undefined][] = [
    ["code", words.detailCode, answer.fault?.code],
    ["run", words.detailRun, run],
    ["serviceRequest", words.detailServiceRequest, answer.fault?.serviceRequest],
    ["model", words.model, answer.model],
    ["asked", words.detailAsked, new Date(answer.created).toISOString()],
  ];
  const rows = known.filter(([, , value]) => value !== undefined);
  const text = rows.map(([name, , value]) => `${name}: ${value}`).join("\n");
  return (
    <details className={css.details}>
      <summary>{words.details}</summary>
      <div>
        <dl>
          {rows.map(([name, label, value]) => (
            <div key={name}>
              <dt>{label}</dt>
              <dd dir="ltr" data-foreign>
                {value}
              </dd>
            </div>
          ))}
        </dl>
        <CopyButton text={text} label={words.copyDetails} />
      </div>
    </details>
  );
}

/** Offered where the model can go on with what it wrote. */
function Continue({ conversation, answer }: Pick<EndingProps, "conversation" | "answer">) {
  const { words } = useText();
  const actions = useActions();
  const can = useChat(({ open, config }) => canContinue(open[conversation], answer, config));
  if (!can) return null;
  return (
    <>
      {" "}
      <button type="button" className="link" onClick={() => actions.goOn(conversation, answer.id)}>
        {words.goOn}
      </button>
    </>
  );
}

function Failed({ conversation, answer, onEdit, onAsk }: EndingProps) {
  const { words } = useText();
  const actions = useActions();
  const code = answer.fault?.code ?? "";
  const remedy = remedyOf(answer.fault);
  const retry = () => {
    if (answer.text === "" && answer.reasoning === "") actions.resend(conversation, answer.parent);
    else actions.regenerate(conversation, answer.id);
    onAsk();
  };
  return (
    <div className={css.fault} data-code={code}>
      <p>
        {words.faults[code] ?? (answer.fault?.text || words.failed)}{" "}
        {remedy === "retry" && (
          <button type="button" className="link" onClick={retry}>
            {words.retry}
          </button>
        )}
        {remedy === "edit" && (
          <button type="button" className="link" onClick={() => onEdit(answer.parent)}>
            {words.editLabel}
          </button>
        )}
        <Continue {...{ conversation, answer }} />
      </p>
      <Details answer={answer} />
    </div>
  );
}

export function Ending(props: EndingProps) {
  const { conversation, answer } = props;
  const { words } = useText();
  const actions = useActions();
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
  if (answer.outcome === "failed") return <Failed {...props} />;
  const how =
    answer.outcome === "stopped" ? words.stopped : answer.finishReason === "length" ? words.cut : undefined;
  if (how === undefined) return null;
  return (
    <p className={css.ending}>
      {how}
      <Continue {...{ conversation, answer }} />
    </p>
  );
}
