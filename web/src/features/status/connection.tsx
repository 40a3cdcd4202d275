/** State of the connection, when it matters: the cause, the next attempt, and a button to try now. */
import { useEffect, useState } from "react";
import { useActions, useChat } from "../../chat/use-chat";
import { isSound, type LinkState } from "../../connection/link";
import { type Text, useText } from "../../i18n/use-text";
import css from "./status.module.css";

/** The cause stays visible during an attempt, so that it does not only flash up. */
function sentence(link: LinkState, { words }: Text): string {
  switch (link.kind) {
    case "live":
      return link.doubted === undefined ? words.online : words.silent;
    case "offline":
      return words.offline;
    case "waiting":
    case "refused":
      return words[link.cause];
    case "connecting":
      return link.cause ? `${words[link.cause]} ${words.connecting}` : words.connecting;
    default:
      return "";
  }
}

/** What happens to running answers, as far as known. */
function prospect(link: LinkState, isWriting: boolean, isLeaving: boolean, { words }: Text): string {
  if (link.kind === "refused") return "";
  if (isLeaving && link.kind !== "live") return words.answerStays;
  return isWriting ? words.answerKept : words.keepWriting;
}

function Countdown({ until, form }: { until: number; form: string }) {
  const { fill } = useText();
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.ceil((until - now) / 1000);
  // Announced once, as a sentence; the countdown is only visual.
  return seconds > 1 ? <span aria-hidden>{fill(form, { seconds })}</span> : null;
}

export function ConnectionBanner() {
  const text = useText();
  const actions = useActions();
  const link = useChat((state) => state.link);
  const isTroubled = useChat((state) => state.linkTroubled);
  const isLeaving = useChat((state) => state.linkLeaving);
  const isWriting = useChat((state) => Object.keys(state.writing).length > 0);
  const { words } = text;
  return (
    <div role="status" data-testid="connection" className={css.place}>
      {isTroubled && !isSound(link) && (
        <div className={css.banner} data-kind={link.kind}>
          <span>
            <b>{sentence(link, text)}</b> {prospect(link, isWriting, isLeaving, text)}
          </span>
          {link.kind === "waiting" && <Countdown until={link.until} form={words.tryIn} />}
          {link.kind === "live" && <Countdown until={link.doubted ?? 0} form={words.giveUpIn} />}
          {link.kind !== "connecting" && (
            <button type="button" className="quiet" onClick={() => actions.reconnect()}>
              {words.tryNow}
            </button>
          )}
        </div>
      )}
    </div>
  );
}

/** The status dot in the header. */
export function ConnectionDot() {
  const text = useText();
  const link = useChat((state) => state.link);
  const isTroubled = useChat((state) => state.linkTroubled);
  // The browser's report and an unanswered ping are shown at once.
  const isBad = isTroubled || link.kind === "offline";
  const state = isSound(link) ? "live" : isBad ? "bad" : "soon";
  const label = link.kind === "offline" ? text.words.offlineDot : sentence(link, text);
  return (
    <span
      className={css.dot}
      data-testid="connection-dot"
      data-state={state}
      role="img"
      aria-label={label}
      title={label}
    />
  );
}
