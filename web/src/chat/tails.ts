/** Keeps the tails of the answers that are being written, within half a second of their being shown and when the page goes. */
import type { TailStore } from "../storage/tail-store";
import { type AssistantMessage, type Conversation, isRunning } from "./model";
import { type Base, baseOf, covers, readTail, type Tail, tailOf, withTails } from "./tail";

/** Between two writes; text that is shown is kept after this long at most. */
export const KEEP_MS = 500;
/** Answers of one tab that are kept at once: the others are only in IndexedDB, every two seconds. */
export const TAILS_MAX = 16;

interface Writing {
  conversation: string;
  answer: AssistantMessage;
}

export class Tails {
  /** What IndexedDB has of the answers that are being written. Without one there is nothing to be joined to. */
  private readonly bases = new Map<string, Base>();
  private readonly changed = new Map<string, Writing>();
  /** Keys of what this tab has kept, by answer. */
  private readonly kept = new Map<string, string>();
  /** Conversations that are being stored because a tail could not be kept. */
  private readonly storing = new Set<string>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly store: TailStore,
    /** Of this tab: two that follow one answer keep it apart. */
    private readonly tab: string,
    /** Stores a conversation at once: there is no room here, or the tail is too long. */
    private readonly storeNow: (conversation: string) => Promise<void>,
  ) {}

  /** An answer has more text, or an end. */
  written(conversation: string, answer: AssistantMessage): void {
    this.changed.set(answer.id, { conversation, answer });
    this.timer ??= setTimeout(() => this.flush(), KEEP_MS);
  }

  /** IndexedDB has this for certain. Tails that it covers are removed, whichever tab kept them. */
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

  /** A stored conversation as it was shown last. */
  join(conversation: Conversation): Conversation {
    const own = this.read((answer) => conversation.messages[answer] !== undefined);
    return withTails(
      conversation,
      own.map(({ tail }) => tail),
    );
  }

  /** The conversation is gone. */
  drop(conversation: string): void {
    for (const [id, writing] of this.changed)
      if (writing.conversation === conversation) this.changed.delete(id);
    for (const { key, tail } of this.read(() => true)) {
      if (tail.conversation === conversation) this.remove(key, tail.answer.id);
    }
  }

  /** All that is kept now. */
  keys(): string[] {
    return this.store.keys();
  }

  /** Removes, of these, what is damaged or belongs to nothing that is still written. */
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
    // What was kept before stays: it is shorter, and as true.
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
