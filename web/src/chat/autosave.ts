/** Stores conversations: a moment after the last change, at once when an answer is finished or the page goes. */
import type { Vault } from "../storage/vault";
import { headOf } from "./check";
import type { Conversation, Head } from "./model";

const SOON_MS = 400;
/** While text comes in: a resume fills what is missing, so there is no hurry. */
const WRITING_MS = 2_000;

export class Autosave {
  private readonly timers = new Map<string, { timer: ReturnType<typeof setTimeout>; at: number }>();
  /** One write after the other: a slow older one must not come after a newer one. */
  private last: Promise<void> = Promise.resolve();

  constructor(
    private readonly vault: Vault<Head, Conversation>,
    private readonly current: (id: string) => Conversation | undefined,
    /** It is in the vault; `isKept`: also when the page is gone. */
    private readonly stored: (conversation: Conversation, isKept: boolean) => void,
  ) {}

  soon(id: string, isWriting = false): void {
    const ms = isWriting ? WRITING_MS : SOON_MS;
    const at = Date.now() + ms;
    const known = this.timers.get(id);
    if (known && known.at <= at) return;
    clearTimeout(known?.timer);
    this.timers.set(id, { timer: setTimeout(() => void this.now(id), ms), at });
  }

  /** It has changes that are still to be stored. */
  isWaiting(id: string): boolean {
    return this.timers.has(id);
  }

  now(id: string): Promise<void> {
    clearTimeout(this.timers.get(id)?.timer);
    this.timers.delete(id);
    this.last = this.last.then(async () => {
      const conversation = this.current(id);
      if (!conversation) return;
      const isKept = await this.vault.save(headOf(conversation), conversation);
      this.stored(conversation, isKept);
    });
    return this.last;
  }

  forget(id: string): void {
    clearTimeout(this.timers.get(id)?.timer);
    this.timers.delete(id);
  }

  flush(): void {
    for (const id of [...this.timers.keys()]) void this.now(id);
  }
}
