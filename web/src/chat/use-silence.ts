/** Whether a running answer has had no new text for a while. */
import { useEffect, useState } from "react";
import { isAtWork } from "./at-work";
import type { ChatStore } from "./contract";
import { isRunning } from "./model";
import { useChatStore } from "./use-chat";

/** After this time without text, the page shows that it is still waiting. */
export const SILENCE_MS = 5_000;

/** The value that changes while the answer makes progress, or null if it is not waiting for the model. */
function progress(state: ChatStore, conversation: string, id: string): string | null {
  const answer = state.writing[id] ?? state.open[conversation]?.messages[id];
  if (!isRunning(answer) || answer.takenOver || !isAtWork(state, conversation, answer)) return null;
  if (answer.queuePosition !== undefined || answer.retrying) return null;
  const question = state.open[conversation]?.messages[answer.parent];
  if (question?.role === "user" && (question.delivery === "queued" || question.delivery === "stale"))
    return null;
  return `${answer.reasoning.length} ${answer.text.length}`;
}

export function useSilence(conversation: string, id: string): boolean {
  const store = useChatStore();
  const [isSilent, setIsSilent] = useState(false);
  useEffect(() => {
    let known: string | null = null;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = (state: ChatStore) => {
      const now = progress(state, conversation, id);
      if (now === known) return;
      known = now;
      clearTimeout(timer);
      setIsSilent(false);
      if (now !== null) timer = setTimeout(() => setIsSilent(true), SILENCE_MS);
    };
    look(store.getState());
    const stop = store.subscribe(look);
    return () => {
      stop();
      clearTimeout(timer);
      setIsSilent(false);
    };
  }, [store, conversation, id]);
  return isSilent;
}
