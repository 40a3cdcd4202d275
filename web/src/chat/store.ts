/** The page's store: its state, the user's actions, and the parts that carry them out. */
import { createStore, type StoreApi } from "zustand/vanilla";
import { isSound, type Link, type LinkState } from "../connection/link";
import { actions } from "./actions";
import { AnswerTracker } from "./answer-tracker";
import { Autosave } from "./autosave";
import type { ChatStore } from "./contract";
import { joined } from "./join";
import { type AssistantMessage, type Conversation, type Head, isRunning } from "./model";
import { keptOperator } from "./operator";
import { readSettings } from "./settings";
import { type StoreContext, type StoreParts, withLatest } from "./store-context";
import { joinTabs, type TabMessage } from "./tabs";
import { Tails } from "./tails";

/** A lost connection is shown after this time, so that short interruptions are not. */
export const TROUBLED_MS = 1_500;

function headsWith(heads: Head[], head: Head): Head[] {
  return [head, ...heads.filter(({ id }) => id !== head.id)].sort((a, b) => b.updated - a.updated);
}

export function createChatStore(parts: StoreParts): StoreApi<ChatStore> & { close(): void; flush(): void } {
  let link: Link;
  let troubled: ReturnType<typeof setTimeout> | undefined;
  let close: () => void = () => undefined;
  let flushAll: () => void = () => undefined;
  const pending = new Map<string, AssistantMessage>();
  const store = createStore<ChatStore>()((set, get) => {
    const flush = parts.perFrame(() => {
      if (pending.size === 0) return;
      const news = Object.fromEntries(pending);
      pending.clear();
      set(({ writing }) => ({ writing: { ...writing, ...news } }));
    });
    const vault = parts.vault((storage) => set({ storage }));
    const current = (id: string) => {
      const conversation = get().open[id];
      if (!conversation || Object.keys(conversation.messages).length === 0) return undefined;
      return withLatest(conversation, { ...get().writing, ...Object.fromEntries(pending) });
    };
    const autosave = new Autosave(vault, current, (conversation, isKept) => {
      if (isKept) tails.stored(conversation);
      context.tabs.post({ kind: "conversation", id: conversation.id });
    });
    const tails = new Tails(parts.tails, parts.newId("t"), (id) => autosave.now(id));
    const put = (conversation: Conversation) => {
      set(({ open }) => ({ open: { ...open, [conversation.id]: conversation } }));
      if (Object.keys(conversation.messages).length === 0) return;
      const { id, title, titled, created, updated } = conversation;
      const known = get().heads.find((head) => head.id === id);
      if (known?.title !== title || known.updated !== updated || known.titled !== titled) {
        set(({ heads }) => ({ heads: headsWith(heads, { id, title, titled, created, updated }) }));
      }
      autosave.soon(id);
    };
    const tracker = new AnswerTracker({
      link: () => link,
      config: () => get().config,
      conversation: (id) => get().open[id],
      setConversation: put,
      written: (conversation, answer, isForeign) => {
        pending.set(answer.id, answer);
        if (!isForeign) autosave.soon(conversation, true);
        tails.written(conversation, answer);
        flush();
      },
      asked: (id) => void autosave.now(id),
      renewOffer: parts.renewOffer,
      settled: (id, answer) => {
        pending.delete(answer.id);
        tails.written(id, answer);
        const { [answer.id]: _, ...writing } = get().writing;
        const conversation = get().open[id];
        if (conversation?.messages[answer.id]) {
          put({ ...conversation, messages: { ...conversation.messages, [answer.id]: answer } });
        }
        set({ writing });
        void autosave.now(id);
      },
      failed: (id, answer) => actionsOf.forgetTurn(id, answer),
      transcript: parts.transcript,
      now: parts.now,
      newId: parts.newId,
    });
    const context: StoreContext = {
      parts,
      store: { getState: get, setState: set } as StoreApi<ChatStore>,
      tracker,
      autosave,
      tails,
      vault,
      tabs: joinTabs(parts.tabs, (message) => void onTabMessage(context, message)),
      link: () => link,
      put,
      load: async (id) => {
        const known = get().open[id];
        if (known) return known;
        const stored = await vault.load(id);
        const opened = get().open[id];
        if (opened || !stored) return opened;
        tails.stored(stored);
        const shown = tails.join(stored);
        set(({ open }) => ({ open: { ...open, [id]: shown } }));
        if (shown !== stored) autosave.soon(id);
        trackUnfinished(context, shown, false);
        return shown;
      },
    };
    const actionsOf = actions(context);
    const showTrouble = () => set({ linkTroubled: true });
    const updateTrouble = (state: LinkState) => {
      if (isSound(state)) {
        clearTimeout(troubled);
        troubled = undefined;
        set({ linkTroubled: false });
      } else if (state.kind === "live") {
        // The doubt has already lasted long enough.
        showTrouble();
      } else troubled ??= setTimeout(showTrouble, TROUBLED_MS);
    };
    link = parts.link({
      state: (state) => {
        const wasLive = get().link.kind === "live";
        set({ link: state });
        updateTrouble(state);
        if (state.kind === "live" && !wasLive) tracker.live();
      },
      frame: (frame) => tracker.frame(frame),
      lost: (requests) => tracker.lost(requests),
      leaving: (linkLeaving) => set({ linkLeaving }),
    });
    queueMicrotask(() => void start(context));
    flushAll = () => {
      // Synchronous storage first: the rest may not complete in time.
      tails.flush();
      autosave.flush();
      parts.drafts.flush();
    };
    close = () => {
      link.close();
      tracker.close();
      flushAll();
      tails.close();
      context.tabs.close();
      clearTimeout(troubled);
    };
    return {
      ready: false,
      config: null,
      operator: keptOperator(),
      link: link.state,
      linkTroubled: false,
      linkLeaving: false,
      returned: 0,
      storage: "ok",
      heads: [],
      current: null,
      open: {},
      writing: {},
      settings: readSettings(),
      removed: null,
      ...actionsOf.actions,
    };
  });
  return Object.assign(store, { close: () => close(), flush: () => flushAll() });
}

/** Tracks the unfinished answers of a conversation. */
function trackUnfinished(context: StoreContext, conversation: Conversation, isForeign: boolean): void {
  for (const message of Object.values(conversation.messages)) {
    if (!isRunning(message) || message.takenOver) continue;
    const question = conversation.messages[message.parent];
    if (question?.role === "user" && question.delivery !== "stale" && question.delivery !== "refused") {
      context.tracker.begin(conversation.id, message, isForeign);
    }
  }
}

async function start(context: StoreContext): Promise<void> {
  const tails = context.tails.keys();
  const heads = await context.vault.heads();
  context.store.setState(({ heads: made }) => ({
    ready: true,
    heads: made.reduce(headsWith, heads),
  }));
  const pending = new Set(heads.flatMap(({ id, pending }) => (pending ? [id] : [])));
  for (const id of pending) await context.load(id);
  context.tails.clean(tails, (id) => pending.has(id));
}

/** Another tab changed something. */
async function onTabMessage(context: StoreContext, message: TabMessage): Promise<void> {
  if (message.kind === "settings") {
    context.store.setState({ settings: readSettings() });
    return;
  }
  context.store.setState({ heads: await context.vault.heads() });
  if (message.kind === "list") return;
  const stored = context.store.getState().open[message.id] && (await context.vault.load(message.id));
  const mine = context.store.getState().open[message.id];
  if (!stored || !mine) return;
  context.tails.stored(stored);
  const { conversation: next, isMore } = joined(mine, stored, context.autosave.isWaiting(message.id), (id) =>
    context.tracker.has(id),
  );
  context.store.setState(({ open }) => ({ open: { ...open, [message.id]: next } }));
  trackUnfinished(context, next, true);
  // Both stored at the same time, and the later one did not know of this.
  if (isMore) context.autosave.soon(message.id);
}
