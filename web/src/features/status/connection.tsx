/** The truth about the connection, once it is worth saying: what happened, when the next attempt is, and a way to hurry. */
import { useEffect, useState } from "react";
import { useActions, useChat } from "../../chat/use-chat";
import type { LinkState } from "../../connection/link";
import { type Text, useText } from "../../i18n/use-text";
import css from "./status.module.css";

function sentence(link: LinkState, { words }: Text): string {
  switch (link.kind) {
    case "offline":
      return words.offline;
    case "waiting":
    case "refused":
      return words[link.cause];
    case "connecting":
      return words.connecting;
    default:
      return "";
  }
}

function Countdown({ until }: { until: number }) {
  const { words, fill } = useText();
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.ceil((until - now) / 1000);
  // Read aloud once, as a sentence; the seconds are for the eye.
  return seconds > 1 ? <span aria-hidden>{fill(words.tryIn, { seconds })}</span> : null;
}

export function ConnectionBanner() {
  const text = useText();
  const actions = useActions();
  const link = useChat((state) => state.link);
  const isTroubled = useChat((state) => state.linkTroubled);
  const isWriting = useChat((state) => Object.keys(state.writing).length > 0);
  const { words } = text;
  return (
    <div role="status" data-testid="connection" className={css.place}>
      {isTroubled && link.kind !== "live" && (
        <div className={css.banner} data-kind={link.kind}>
          <span>
            <b>{sentence(link, text)}</b> {isWriting ? words.answerGoesOn : words.keepWriting}
          </span>
          {link.kind === "waiting" && <Countdown until={link.until} />}
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

/** Of the header: one dot. */
export function ConnectionDot() {
  const { words } = useText();
  const kind = useChat((state) => state.link.kind);
  const isTroubled = useChat((state) => state.linkTroubled);
  const state = kind === "live" ? "live" : isTroubled ? "bad" : "soon";
  const said = kind === "live" ? words.online : words.connecting;
  return <span className={css.dot} data-state={state} role="img" aria-label={said} title={said} />;
}
