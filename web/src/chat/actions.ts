/** The user's actions. Each changes the conversation; requests are left to the tracker. */
import { headOf } from "./check";
import { goneModel, keepChoice, lastChoice } from "./choice";
import { goneOn } from "./continuation";
import type { ChatActions } from "./contract";
import { fromFile, toJson, toMarkdown } from "./exchange";
import { type AssistantMessage, type Conversation, type Head, isRunning } from "./model";
import { forgetTurn } from "./plan";
import { search } from "./search";
import { writeSettings } from "./settings";
import { type StoreContext, withLatest } from "./store-context";
import { before, isContinued, shown, userOf, withChosen, without } from "./tree";
import { type Asked, edit, emptyConversation, regenerate, resend, submit } from "./turns";

/** How long a removal can be undone. */
const UNDO_MS = 8_000;

export function actions(context: StoreContext): {
  actions: ChatActions;
  forgetTurn(conversation: string, answer: AssistantMessage): void;
} {
  const { parts, tracker, autosave, tails, vault } = context;
  const get = () => context.store.getState();
  const set = context.store.setState;
  let removing: { conversation: Conversation; head: Head; timer: ReturnType<typeof setTimeout> } | undefined;

  const change = (id: string, how: (conversation: Conversation) => Conversation | undefined) => {
    const conversation = get().open[id];
    const next = conversation && how(conversation);
    if (next && next !== conversation) context.put(next);
    return next;
  };
  /** Stops answers on a branch that was left. */
  const leave = (id: string, { conversation, question }: Asked) => {
    const way = new Set(before(conversation, question).map((message) => message.id));
    for (const answer of tracker.ofConversation(id)) if (!way.has(answer.id)) tracker.stop(answer.id);
  };
  /** A model that is gone is forgotten with the next question: the default one answers from then on. */
  const withOffered = (conversation: Conversation): Conversation => {
    if (goneModel(conversation.choice, get().config) === undefined) return conversation;
    const { model: _, ...choice } = conversation.choice;
    return { ...conversation, choice };
  };
  const begin = (id: string, how: (conversation: Conversation) => Asked | undefined, isApart = false) => {
    const conversation = get().open[id];
    const asked = conversation && how(withLatest(conversation, get().writing));
    if (!asked) return;
    context.put(withOffered(asked.conversation));
    if (isApart) leave(id, asked);
    // Stored before it is sent, so that the message survives a closed page.
    void autosave.now(id);
    tracker.begin(id, asked.answer);
  };
  const removed = async () => {
    if (!removing) return;
    const { conversation, timer } = removing;
    clearTimeout(timer);
    removing = undefined;
    set({ removed: null });
    parts.drafts.write(conversation.id, "");
    await vault.remove(conversation.id);
    context.tabs.post({ kind: "list" });
  };
  const all = async (ids: string[]) => {
    const { open, writing } = get();
    // Open conversations are not read again: they are newer than the stored ones, and reading a long one takes time.
    const stored = await vault.loadAll(ids.filter((id) => !open[id]));
    const byId = new Map(stored.map((conversation) => [conversation.id, conversation]));
    return ids.flatMap((id) => (open[id] ? withLatest(open[id], writing) : (byId.get(id) ?? [])));
  };
  // A new conversation gets a new id on every visit; its draft is stored under this key.
  const draftOf = (id: string): string => {
    const open = get().open[id];
    return open && Object.keys(open.messages).length === 0 ? "new" : id;
  };
  const running = (id: string): AssistantMessage | undefined =>
    tracker
      .ofConversation(id)
      .filter(isRunning)
      .sort((a, b) => a.created - b.created)[0];

  const made: ChatActions = {
    newConversation: () => {
      const id = parts.newId("c");
      set(({ open }) => ({
        open: { ...open, [id]: emptyConversation(id, parts.now(), lastChoice()) },
        current: id,
      }));
      return id;
    },
    openConversation: async (id) => {
      set({ current: id });
      if (!(await context.load(id)) && get().current === id) set({ current: null });
    },
    rename: (id, title) => {
      const name = title.trim().slice(0, 200);
      if (name === "") return;
      void context
        .load(id)
        .then(() => change(id, (conversation) => ({ ...conversation, title: name, titled: true })));
    },
    remove: (id) => {
      void context.load(id).then(async (conversation) => {
        await removed();
        const head = get().heads.find((known) => known.id === id);
        if (!conversation || !head) return;
        autosave.forget(id);
        const timer = setTimeout(() => void removed(), UNDO_MS);
        removing = { conversation: withLatest(conversation, get().writing), head, timer };
        tracker.drop(id);
        tails.drop(id);
        set(({ heads, open, current }) => {
          const { [id]: _, ...rest } = open;
          return {
            heads: heads.filter((known) => known.id !== id),
            open: rest,
            current: current === id ? null : current,
            removed: head,
          };
        });
        // Posted after the removal, because other tabs then read the list again.
        void vault.remove(id).then(() => context.tabs.post({ kind: "list" }));
      });
    },
    undoRemove: () => {
      if (!removing) return;
      const { conversation, timer } = removing;
      clearTimeout(timer);
      removing = undefined;
      set({ removed: null, current: conversation.id });
      context.put(conversation);
      void autosave.now(conversation.id);
      for (const message of Object.values(conversation.messages)) {
        if (isRunning(message)) tracker.begin(conversation.id, message);
      }
    },
    search: (query) => search(query, get().heads, all),

    send: (id, text) => {
      if (text.trim() === "") return;
      made.saveDraft(id, "");
      begin(id, (conversation) => submit(conversation, text, parts.now(), parts.newId));
    },
    stop: (id) => {
      const answer = running(id);
      if (answer) tracker.stop(answer.id);
    },
    regenerate: (id, answer) =>
      begin(id, (conversation) => regenerate(conversation, answer, parts.now(), parts.newId), true),
    goOn: (id, message) => {
      const conversation = get().open[id];
      const begun = conversation && goneOn(conversation, message, get().config);
      if (!begun) return;
      context.put(begun.conversation);
      void autosave.now(id);
      tracker.goOn(id, begun.answer);
    },
    edit: (id, message, text) => {
      if (text.trim() !== "") {
        begin(id, (conversation) => edit(conversation, message, text, parts.now(), parts.newId), true);
      }
    },
    choose: (id, message) => {
      change(id, (conversation) => withChosen(conversation, message));
    },
    resend: (id, message) =>
      begin(id, (conversation) => resend(conversation, message, parts.now(), parts.newId)),
    takeBack: (id, message) => {
      const conversation = get().open[id];
      const question = conversation && userOf(conversation, message);
      // What was sent is stopped, not taken back; messages below it would be lost with it.
      const isSent = question?.delivery === "sent" || question?.delivery === "accepted";
      if (!question || isSent || isContinued(conversation, message)) return;
      for (const answer of tracker.ofConversation(id)) if (answer.parent === message) tracker.stop(answer.id);
      change(id, (now) => without(forgetTurn(now, message), message));
      if (made.draft(id) !== "") return;
      made.saveDraft(id, question.text);
      set(({ returned }) => ({ returned: returned + 1 }));
    },
    follow: (id) => {
      change(id, (conversation) => {
        const messages = { ...conversation.messages };
        for (const { id: shownId } of shown(conversation)) {
          const message = messages[shownId];
          if (message?.role !== "assistant" || !message.takenOver) continue;
          const { takenOver: _, ...answer } = message;
          messages[shownId] = { ...answer, outcome: "streaming" };
        }
        return { ...conversation, messages };
      });
      for (const message of Object.values(get().open[id]?.messages ?? {})) {
        if (isRunning(message)) tracker.begin(id, message, true);
      }
    },
    setSystem: (id, system) => {
      // The gateway's copy has the old instructions: it is abandoned, and rebuilt under a new id.
      change(id, (conversation) =>
        conversation.system === system
          ? conversation
          : {
              ...conversation,
              system,
              remembered: [],
              epoch: conversation.remembered.length > 0 ? conversation.epoch + 1 : conversation.epoch,
            },
      );
    },

    setChoice: (id, choice) => {
      keepChoice(choice);
      change(id, (conversation) => ({ ...conversation, choice }));
    },
    renewOffer: () => parts.renewOffer(),

    draft: (id) => parts.drafts.read(draftOf(id)),
    saveDraft: (id, text) => parts.drafts.write(draftOf(id), text),

    exportMarkdown: async (id, names) => {
      const [conversation] = await all([id]);
      return conversation ? toMarkdown(conversation, names) : "";
    },
    exportJson: async (ids) => toJson(await all(ids ?? get().heads.map(({ id }) => id))),
    importFile: async (file, progress) => {
      const read = await fromFile(file, parts.newId, parts.now);
      if (typeof read === "string") return { taken: 0, skipped: 0, problem: read };
      const { conversations, skipped } = read;
      const isStored = await vault.saveAll(
        conversations.map((conversation) => [headOf(conversation), conversation]),
        (done) => progress(done, conversations.length),
      );
      set(({ heads }) => ({
        heads: [...heads, ...conversations.map(headOf)].sort((a, b) => b.updated - a.updated),
      }));
      context.tabs.post({ kind: "list" });
      return { taken: conversations.length, skipped, ...(isStored ? {} : { problem: "storage" }) };
    },

    setSettings: (settings) => {
      set(({ settings: old }) => ({ settings: { ...old, ...settings } }));
      writeSettings(get().settings);
      context.tabs.post({ kind: "settings" });
    },
    reconnect: () => context.link().retry(),
  };
  return {
    actions: made,
    forgetTurn: (id, answer) => {
      change(id, (conversation) => forgetTurn(conversation, answer.parent, answer.asked));
    },
  };
}
