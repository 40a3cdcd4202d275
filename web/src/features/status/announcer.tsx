/** Announcements for screen readers: an answer started, continues, ended. Never its text. */
import { useEffect, useRef, useState } from "react";
import type { AssistantMessage } from "../../chat/model";
import { last } from "../../chat/tree";
import { useChat } from "../../chat/use-chat";
import { useSilence } from "../../chat/use-silence";
import { useText } from "../../i18n/use-text";

const STILL_MS = 7_000;

/** Words of Latin scripts, and each character of Chinese and Japanese. */
function countWords(text: string): number {
  return text.match(/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|[\p{L}\p{N}]+/gu)?.length ?? 0;
}

function useLastAnswer(conversation: string): AssistantMessage | undefined {
  return useChat((state) => {
    const open = state.open[conversation];
    const message = open && last(open);
    return message?.role === "assistant" ? message : undefined;
  });
}

export function Announcer({ conversation }: { conversation: string }) {
  const { words, fill } = useText();
  const answer = useLastAnswer(conversation);
  const isWriting = useChat(
    (state) => answer !== undefined && state.writing[answer.id]?.outcome === "streaming",
  );
  const restartedAt = useChat((state) => answer && state.writing[answer.id]?.restartedAt);
  const [announcement, setAnnouncement] = useState("");
  const [alarm, setAlarm] = useState("");
  const before = useRef<{ id: string; outcome: string } | null>(null);
  const answerId = answer?.id ?? "";
  const isSilent = useSilence(conversation, answerId);
  /** Announced once per answer, however often it pauses. */
  const waitedFor = useRef("");
  const outcome = isWriting && answer?.outcome === "waiting" ? "streaming" : answer?.outcome;

  useEffect(() => {
    if (!answer || !outcome) return;
    const known = before.current;
    before.current = { id: answer.id, outcome };
    // Answers that existed when the conversation was opened are not announced.
    if (known === null || (known.id !== answer.id && outcome !== "waiting" && outcome !== "streaming"))
      return;
    if (known.id === answer.id && known.outcome === outcome) return;
    if (outcome === "waiting") setAnnouncement(words.announceSent);
    else if (outcome === "streaming") setAnnouncement(words.announceAnswering);
    else if (outcome === "done")
      setAnnouncement(fill(words.announceDone, { count: countWords(answer.text) }));
    else if (outcome === "stopped") setAnnouncement(words.announceStopped);
    if (outcome === "failed") setAlarm(words.faults[answer.fault?.code ?? ""] ?? words.failed);
    else setAlarm("");
  }, [answer, outcome, words, fill]);

  useEffect(() => {
    if (outcome !== "streaming" || isSilent) return;
    const timer = setInterval(
      () =>
        setAnnouncement((old) =>
          old === words.announceStill ? `${words.announceStill} ` : words.announceStill,
        ),
      STILL_MS,
    );
    return () => clearInterval(timer);
  }, [outcome, isSilent, words]);

  useEffect(() => {
    if (restartedAt !== undefined) setAnnouncement(words.announceRestarted);
  }, [restartedAt, words]);

  useEffect(() => {
    if (!isSilent || waitedFor.current === answerId) return;
    waitedFor.current = answerId;
    setAnnouncement(words.announceWaiting);
  }, [isSilent, answerId, words]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: another conversation begins in silence.
  useEffect(() => {
    before.current = answer ? { id: answer.id, outcome: answer.outcome } : { id: "", outcome: "" };
    setAnnouncement("");
    setAlarm("");
  }, [conversation]);

  return (
    <>
      <div role="status" aria-live="polite" data-testid="announcer" className="offscreen">
        {announcement}
      </div>
      <div role="alert" data-testid="alerts" className="offscreen">
        {alarm}
      </div>
    </>
  );
}
