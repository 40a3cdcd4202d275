/** The one store of the page: what is known, what a person can do, and who does it. */
import { createStore, type StoreApi } from "zustand/vanilla";
import { isSound, type Link, type LinkEvents, type LinkState } from "../connection/link";
import type { Drafts } from "../storage/drafts";
import type { TailStore } from "../storage/tail-store";
import type { Vault, VaultState } from "../storage/vault";
import { actions } from "./actions";
import type { ChatStore } from "./contract";
import { Follows } from "./follows";
import { joined } from "./join";
import { Keeper } from "./keeper";
import { type AssistantMessage, type Conversation, type Head, isRunning } from "./model";
import { keptOperator } from "./operator";
import type { Remembered } from "./page-config";
import { readSettings } from "./settings";
import { joinTabs, type News, type Tabs } from "./tabs";
import { Tails } from "./tails";

/** The page speaks of a lost connection after this long, not at every blink. */
export const TROUBLED_MS = 1_500;

export interface Parts {
  link(events: LinkEvents): Link;
  vault(tell: (state: VaultState) => void): Vault<Head, Conversation>;
  drafts: Drafts;
  tails: TailStore;
  transcript(chat: string): Promise<Remembered | null>;
  perFrame(flush: () => void): () => void;
  now(): number;
  newId(prefix: string): string;
  /** Of the channel on which tabs talk. */
  tabs: string;
}

/** What actions work with. */
export interface Room {
  parts: Parts;
  store: StoreApi<ChatStore>;
  follows: Follows;
  keeper: Keeper;
  tails: Tails;
  vault: Vault<Head, Conversation>;
  tabs: Tabs;
  link(): Link;
  /** Changes a conversation that is open, and stores it. */
  put(conversation: Conversation): void;
  load(id: string): Promise<Conversation | undefined>;
}

/** The conversation with the newest state of its answers. */
export function merged(conversation: Conversation, writing: Record<string, AssistantMessage>): Conversation {
  const newer = Object.values(writing).filter(({ id }) => conversation.messages[id]);
  if (newer.length === 0) return conversation;
  const messages = { ...conversation.messages };
  for (const answer of newer) messages[answer.id] = answer;
  return { ...conversation, messages };
}

function headsWith(heads: Head[], head: Head): Head[] {
  return [head, ...heads.filter(({ id }) => id !== head.id)].sort((a, b) => b.updated - a.updated);
}

export function createChatStore(parts: Parts): StoreApi<ChatStore> & { close(): void; flush(): void } {
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
      return merged(conversation, { ...get().writing, ...Object.fromEntries(pending) });
    };
    const keeper = new Keeper(vault, current, (conversation, isKept) => {
      if (isKept) tails.stored(conversation);
      room.tabs.tell({ kind: "conversation", id: conversation.id });
    });
    const tails = new Tails(parts.tails, parts.newId("t"), (id) => keeper.now(id));
    const put = (conversation: Conversation) => {
      set(({ open }) => ({ open: { ...open, [conversation.id]: conversation } }));
      if (Object.keys(conversation.messages).length === 0) return;
      const { id, title, titled, created, updated } = conversation;
      const known = get().heads.find((head) => head.id === id);
      if (known?.title !== title || known.updated !== updated || known.titled !== titled) {
        set(({ heads }) => ({ heads: headsWith(heads, { id, title, titled, created, updated }) }));
      }
      keeper.soon(id);
    };
    const follows = new Follows({
      link: () => link,
      config: () => get().config,
      conversation: (id) => get().open[id],
      setConversation: put,
      written: (conversation, answer, isForeign) => {
        pending.set(answer.id, answer);
        if (!isForeign) keeper.soon(conversation, true);
        tails.written(conversation, answer);
        flush();
      },
      asked: (id) => void keeper.now(id),
      settled: (id, answer) => {
        pending.delete(answer.id);
        tails.written(id, answer);
        const { [answer.id]: _, ...writing } = get().writing;
        const conversation = get().open[id];
        if (conversation?.messages[answer.id]) {
          put({ ...conversation, messages: { ...conversation.messages, [answer.id]: answer } });
        }
        set({ writing });
        void keeper.now(id);
      },
      failed: (id, answer) => actionsOf.forgot(id, answer),
      transcript: parts.transcript,
      now: parts.now,
      newId: parts.newId,
    });
    const room: Room = {
      parts,
      store: { getState: get, setState: set } as StoreApi<ChatStore>,
      follows,
      keeper,
      tails,
      vault,
      tabs: joinTabs(parts.tabs, (news) => void heard(room, news)),
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
        if (shown !== stored) keeper.soon(id);
        follow(room, shown, false);
        return shown;
      },
    };
    const actionsOf = actions(room);
    const tellTrouble = () => set({ linkTroubled: true });
    const speak = (state: LinkState) => {
      if (isSound(state)) {
        clearTimeout(troubled);
        troubled = undefined;
        set({ linkTroubled: false });
      } else if (state.kind === "live") {
        // The doubt has waited long enough.
        tellTrouble();
      } else troubled ??= setTimeout(tellTrouble, TROUBLED_MS);
    };
    link = parts.link({
      state: (state) => {
        const wasLive = get().link.kind === "live";
        set({ link: state });
        speak(state);
        if (state.kind === "live" && !wasLive) follows.live();
      },
      frame: (frame) => follows.frame(frame),
      lost: (requests) => follows.lost(requests),
      leaving: (linkLeaving) => set({ linkLeaving }),
    });
    queueMicrotask(() => void start(room));
    flushAll = () => {
      // First what is kept at once: the rest may come too late.
      tails.flush();
      keeper.flush();
      parts.drafts.flush();
    };
    close = () => {
      link.close();
      follows.close();
      flushAll();
      tails.close();
      room.tabs.close();
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

/** Takes up what is not finished. */
function follow(room: Room, conversation: Conversation, isForeign: boolean): void {
  for (const message of Object.values(conversation.messages)) {
    if (!isRunning(message) || message.takenOver) continue;
    const question = conversation.messages[message.parent];
    if (question?.role === "user" && question.delivery !== "stale" && question.delivery !== "refused") {
      room.follows.begin(conversation.id, message, isForeign);
    }
  }
}

async function start(room: Room): Promise<void> {
  const tails = room.tails.keys();
  const heads = await room.vault.heads();
  room.store.setState(({ heads: made }) => ({
    ready: true,
    heads: made.reduce(headsWith, heads),
  }));
  const pending = new Set(heads.flatMap(({ id, pending }) => (pending ? [id] : [])));
  for (const id of pending) await room.load(id);
  room.tails.clean(tails, (id) => pending.has(id));
}

/** Another tab changed something. */
async function heard(room: Room, news: News): Promise<void> {
  if (news.kind === "settings") {
    room.store.setState({ settings: readSettings() });
    return;
  }
  room.store.setState({ heads: await room.vault.heads() });
  if (news.kind === "list") return;
  const stored = room.store.getState().open[news.id] && (await room.vault.load(news.id));
  const mine = room.store.getState().open[news.id];
  if (!stored || !mine) return;
  room.tails.stored(stored);
  const { conversation: next, isMore } = joined(mine, stored, room.keeper.isWaiting(news.id), (id) =>
    room.follows.has(id),
  );
  room.store.setState(({ open }) => ({ open: { ...open, [news.id]: next } }));
  follow(room, next, true);
  // Both had stored at the same time, and the later one did not know of this.
  if (isMore) room.keeper.soon(news.id);
}
