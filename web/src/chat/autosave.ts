/** Stores conversations: shortly after the last change, at once when an answer is finished or the page is closed. */
import type { Vault } from "../storage/vault";
import { headOf } from "./check";
import type { Conversation, Head } from "./model";

const SOON_MS = 400;
/** Delay during an answer: a resume recovers missing text, so there is no hurry. */
const WRITING_MS = 2_000;

export class Autosave {
  private readonly timers = new Map<string, { timer: ReturnType<typeof setTimeout>; at: number }>();
  /** Writes are sequential, so that an older one cannot overwrite a newer one. */
  private last: Promise<void> = Promise.resolve();

  constructor(
    private readonly vault: Vault<Head, Conversation>,
    private readonly current: (id: string) => Conversation | undefined,
    /** The conversation was saved; `isKept`: durably, not only in memory. */
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

  /** Whether it has unsaved changes. */
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
