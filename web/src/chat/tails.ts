/** Stores the tails of running answers within half a second and when the page is closed. */
import type { TailStore } from "../storage/tail-store";
import { type AssistantMessage, type Conversation, isRunning } from "./model";
import { type Base, baseOf, covers, readTail, type Tail, tailOf, withTails } from "./tail";

/** Time between two writes; shown text is stored after this time at most. */
export const KEEP_MS = 500;
/** Maximum number of answers per tab; further ones are only in IndexedDB, every two seconds. */
export const TAILS_MAX = 16;

interface Writing {
  conversation: string;
  answer: AssistantMessage;
}

export class Tails {
  /** State of running answers in IndexedDB. Without it a tail could not be joined. */
  private readonly bases = new Map<string, Base>();
  private readonly changed = new Map<string, Writing>();
  /** Keys stored by this tab, by answer. */
  private readonly kept = new Map<string, string>();
  /** Conversations being stored because a tail could not be. */
  private readonly storing = new Set<string>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly store: TailStore,
    /** Id of this tab: two tabs that follow one answer store it separately. */
    private readonly tab: string,
    /** Stores a conversation at once, if storage is full or the tail is too long. */
    private readonly storeNow: (conversation: string) => Promise<void>,
  ) {}

  /** An answer has more text, or an end. */
  written(conversation: string, answer: AssistantMessage): void {
    this.changed.set(answer.id, { conversation, answer });
    this.timer ??= setTimeout(() => this.flush(), KEEP_MS);
  }

  /** The conversation is in IndexedDB. Tails that it contains are removed, of any tab. */
  stored(conversation: Conversation): void {
    for (const message of Object.values(conversation.messages)) {
      if (message.role !== "assistant") continue;
      if (isRunning(message)) this.bases.set(message.id, baseOf(message));
      else this.bases.delete(message.id);
    }
    for (const { key, tail } of this.read((answer) => conversation.messages[answer] !== undefined)) {
      const message = conversation.messages[tail.answer.id];
      if (message?.role !== "assistant" || covers(message, tail)) this.remove(key, tail.answer.id);
    }
  }

  /** A stored conversation with its tails. */
  join(conversation: Conversation): Conversation {
    const own = this.read((answer) => conversation.messages[answer] !== undefined);
    return withTails(
      conversation,
      own.map(({ tail }) => tail),
    );
  }

  /** The conversation was removed. */
  drop(conversation: string): void {
    for (const [id, writing] of this.changed)
      if (writing.conversation === conversation) this.changed.delete(id);
    for (const { key, tail } of this.read(() => true)) {
      if (tail.conversation === conversation) this.remove(key, tail.answer.id);
    }
  }

  /** All stored keys. */
  keys(): string[] {
    return this.store.keys();
  }

  /** Removes those of the keys that are damaged or belong to no unfinished answer. */
  clean(keys: string[], isPending: (conversation: string) => boolean): void {
    for (const key of keys) {
      const tail = readTail(this.store.read(key) ?? "");
      if (!tail || !isPending(tail.conversation)) this.remove(key, tail?.answer.id ?? "");
    }
  }

  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    for (const { conversation, answer } of this.changed.values()) this.keep(conversation, answer);
    this.changed.clear();
  }

  close(): void {
    clearTimeout(this.timer);
  }

  private keep(conversation: string, answer: AssistantMessage): void {
    const base = this.bases.get(answer.id);
    const tail = base && tailOf(conversation, answer, base);
    if (!tail || tail === "nothing") return;
    const key = `${answer.id}/${this.tab}`;
    const hasRoom = this.kept.has(answer.id) || this.kept.size < TAILS_MAX;
    if (!hasRoom) return;
    if (tail !== "too-long" && this.store.write(key, JSON.stringify(tail))) {
      this.kept.set(answer.id, key);
      return;
    }
    // The older tail stays: it is shorter, but valid.
    if (this.storing.has(conversation)) return;
    this.storing.add(conversation);
    void this.storeNow(conversation).finally(() => this.storing.delete(conversation));
  }

  private read(wanted: (answer: string) => boolean): { key: string; tail: Tail }[] {
    return this.store.keys().flatMap((key) => {
      if (!wanted(key.slice(0, key.indexOf("/")))) return [];
      const tail = readTail(this.store.read(key) ?? "");
      return tail ? [{ key, tail }] : [];
    });
  }

  private remove(key: string, answer: string): void {
    this.store.remove(key);
    if (this.kept.get(answer) === key) this.kept.delete(answer);
  }
}
