/** The store with real storage: a tab that is killed takes nothing with it, and two tabs agree. */
import "fake-indexeddb/auto";
import { expect, test, vi } from "vitest";
import type { LinkEvents } from "../connection/link";
import type { ClientFrame } from "../protocol/frames";
import { openDrafts } from "../storage/drafts";
import { openVault } from "../storage/vault";
import { headOf, readConversation } from "./check";
import { newId } from "./ids";
import { createChatStore } from "./store";

function tab(isLive: boolean) {
  const sent: ClientFrame[] = [];
  let events: LinkEvents | undefined;
  const store = createChatStore({
    link: (given) => {
      events = given;
      return {
        state: isLive ? { kind: "live" } : { kind: "offline" },
        send: (frame) => isLive && sent.push(frame) > 0,
        retry: () => undefined,
        close: () => undefined,
      };
    },
    vault: (tell) => openVault("s", { conversation: readConversation, head: headOf }, tell),
    drafts: openDrafts(),
    transcript: async () => null,
    perFrame: (flush) => flush,
    now: Date.now,
    newId,
    tabs: "s",
  });
  return { store, sent, events: () => events as LinkEvents };
}

test("20 messages without a socket survive the tab, and go one after the other", {
  timeout: 20_000,
}, async () => {
  const first = tab(false);
  const id = first.store.getState().newConversation();
  for (let n = 0; n < 20; n += 1) first.store.getState().send(id, `message ${n}`);
  first.store.flush();
  await vi.waitFor(async () => {
    const vault = openVault("s", { conversation: readConversation, head: headOf }, () => undefined);
    expect(Object.keys((await vault.load(id))?.messages ?? {})).toHaveLength(40);
  });
  const second = tab(true);
  await vi.waitFor(() => expect(second.sent).toHaveLength(1));
  for (let n = 0; n < 20; n += 1) {
    const frame = second.sent[n];
    if (frame?.type !== "send") throw new Error("not asked");
    expect(frame.messages.at(-1)?.parts[0]?.text).toBe(`message ${n}`);
    const { requestId } = frame;
    const chunk = { type: "start", messageId: `msg-${n}` } as const;
    second.events().frame({ type: "chunk", requestId, sequence: 0, chunk });
    second
      .events()
      .frame({ type: "chunk", requestId, sequence: 1, chunk: { type: "finish", reason: "stop" } });
    second.events().frame({ type: "end", requestId });
  }
  expect(second.sent).toHaveLength(20);
  first.store.close();
  second.store.close();
});
