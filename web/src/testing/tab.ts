/** A tab of the page without its user interface: the real store and storage, with a fake socket. */
import "fake-indexeddb/auto";
import { headOf, readConversation } from "../chat/check";
import { newId } from "../chat/ids";
import { createChatStore } from "../chat/store";
import type { LinkEvents, LinkState } from "../connection/link";
import type { ClientFrame, SendFrame, ServerFrame } from "../protocol/frames";
import { openDrafts } from "../storage/drafts";
import { openTailStore } from "../storage/tail-store";
import { openVault } from "../storage/vault";

/** Tabs of one `browser` share storage and notify each other. */
export const vaultOf = (browser: string) =>
  openVault(browser, { conversation: readConversation, head: headOf }, () => undefined);

export function openTab(browser: string, isLive: boolean) {
  const sent: ClientFrame[] = [];
  let events: LinkEvents | undefined;
  let state: LinkState = isLive ? { kind: "live" } : { kind: "offline" };
  const store = createChatStore({
    link: (given) => {
      events = given;
      return {
        get state() {
          return state;
        },
        send: (frame) => state.kind === "live" && sent.push(frame) > 0,
        retry: () => undefined,
        close: () => undefined,
      };
    },
    vault: (onState) => openVault(browser, { conversation: readConversation, head: headOf }, onState),
    drafts: openDrafts(),
    tails: openTailStore(),
    renewOffer: () => undefined,
    transcript: async () => null,
    perFrame: (flush) => flush,
    now: Date.now,
    newId,
    tabs: browser,
  });
  return {
    store,
    sent,
    become(next: LinkState): void {
      state = next;
      events?.state(next);
      // Requests that were answered are no longer open; the tracker handles that.
      if (next.kind !== "live") events?.lost(sent.flatMap((frame) => frame.requestId));
    },
    /** One of two sockets is closed, and these requests with it. */
    lose: (...frames: ClientFrame[]) => events?.lost(frames.map(({ requestId }) => requestId)),
    refuse(frame: ClientFrame | undefined, code: string): void {
      const { requestId } = frame as SendFrame;
      events?.frame({ type: "error", requestId, fault: { code, text: "", retryable: true } });
    },
    frame(frame: ServerFrame): void {
      events?.frame(frame);
    },
    /** Answers the question in a frame with one word. */
    answer(frame: ClientFrame | undefined, messageId: string, text: string): void {
      const { requestId } = frame as SendFrame;
      const chunk = (sequence: number, chunk: object) =>
        events?.frame({ type: "chunk", requestId, sequence, chunk } as Parameters<LinkEvents["frame"]>[0]);
      chunk(0, { type: "start", messageId });
      chunk(1, { type: "part-start", kind: "text", id: "t" });
      chunk(2, { type: "delta", kind: "text", id: "t", text });
      chunk(3, { type: "part-end", kind: "text", id: "t" });
      chunk(4, { type: "finish", reason: "stop" });
      events?.frame({ type: "end", requestId });
    },
  };
}

/** Questions sent, in order. */
export const questions = (frames: ClientFrame[]): string[] =>
  frames.flatMap((frame) =>
    frame.type === "send" && frame.trigger !== "continue"
      ? (frame.messages.at(-1)?.parts[0]?.text ?? "")
      : [],
  );
