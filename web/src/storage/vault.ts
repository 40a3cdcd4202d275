/** Conversations in IndexedDB, or in memory if that is blocked. Never throws: the page works without it. */
import { createStore, del, get, getMany, keys, set, type UseStore, update } from "idb-keyval";

export type VaultState = "ok" | "full" | "blocked";

/** The part of an item that is kept in the list. */
export interface Entry {
  id: string;
  updated: number;
}

export interface Vault<H extends Entry, C extends H> {
  heads(): Promise<H[]>;
  load(id: string): Promise<C | undefined>;
  loadAll(ids: string[]): Promise<C[]>;
  /** False if it is only in memory. */
  save(head: H, conversation: C): Promise<boolean>;
  /** All or none, in one transaction. False if they are only in memory. */
  saveAll(entries: [head: H, conversation: C][], progress: (done: number) => void): Promise<boolean>;
  remove(id: string): Promise<void>;
}

/** Version of the stored format, incremented when older data can no longer be read. */
const VERSION = 1;
interface Kept<C> {
  version: number;
  value: C;
}

const HEADS = "heads";
const key = (id: string): string => `c:${id}`;

export interface Checks<H, C> {
  /** Validates stored data of this or an older version; undefined: damaged, and left out. */
  conversation(value: unknown): C | undefined;
  head(conversation: C): H;
}

/** Writes in sequence: a large copy in one go would block rendering. */
function writeAll<H extends Entry, C extends H>(
  objects: IDBObjectStore,
  entries: [head: H, conversation: C][],
  progress: (done: number) => void,
): Promise<true> {
  return new Promise((resolve, reject) => {
    const { transaction } = objects;
    transaction.oncomplete = () => resolve(true);
    transaction.onabort = () => reject(transaction.error);
    const guarded = (action: () => void) => () => {
      try {
        action();
      } catch (error) {
        reject(error);
        transaction.abort();
      }
    };
    const write = (at: number) => {
      const entry = entries[at];
      if (!entry) return;
      const kept: Kept<C> = { version: VERSION, value: entry[1] };
      objects.put(kept, key(entry[1].id)).onsuccess = guarded(() => {
        progress(at + 1);
        write(at + 1);
      });
    };
    const list = objects.get(HEADS);
    list.onsuccess = guarded(() => {
      const known = Array.isArray(list.result) ? (list.result as H[]) : [];
      const fresh = new Set(entries.map(([{ id }]) => id));
      objects.put([...entries.map(([head]) => head), ...known.filter(({ id }) => !fresh.has(id))], HEADS);
      write(0);
    });
  });
}

class IndexedVault<H extends Entry, C extends H> implements Vault<H, C> {
  private readonly memory = new Map<string, C>();
  private store: UseStore | null;
  private broken = false;

  constructor(
    name: string,
    private readonly checks: Checks<H, C>,
    private readonly onState: (state: VaultState) => void,
  ) {
    try {
      this.store = createStore(name, "conversations");
    } catch {
      this.store = null;
      onState("blocked");
    }
  }

  private failed(error: unknown): void {
    const isFull = error instanceof DOMException && error.name === "QuotaExceededError";
    if (!isFull) this.broken = true;
    this.onState(isFull ? "full" : "blocked");
  }

  private async attempt<T>(action: (store: UseStore) => Promise<T>): Promise<T | undefined> {
    if (!this.store || this.broken) return undefined;
    try {
      return await action(this.store);
    } catch (error) {
      this.failed(error);
      return undefined;
    }
  }

  private read(kept: unknown): C | undefined {
    const { version, value } = (kept ?? {}) as Partial<Kept<unknown>>;
    return version === VERSION ? this.checks.conversation(value) : undefined;
  }

  async heads(): Promise<H[]> {
    const stored = await this.attempt((store) => get<unknown>(HEADS, store));
    const heads = new Map<string, H>();
    if (Array.isArray(stored)) {
      for (const head of stored as H[]) if (typeof head?.id === "string") heads.set(head.id, head);
    } else {
      // If the list is missing or damaged, it is rebuilt from the conversations.
      const all = (await this.attempt((store) => keys(store))) ?? [];
      const ids = all.flatMap((name) =>
        typeof name === "string" && name.startsWith("c:") ? [name.slice(2)] : [],
      );
      for (const found of await this.loadAll(ids)) heads.set(found.id, this.checks.head(found));
      if (heads.size > 0) await this.attempt((store) => set(HEADS, [...heads.values()], store));
    }
    for (const kept of this.memory.values()) heads.set(kept.id, this.checks.head(kept));
    return [...heads.values()].sort((a, b) => b.updated - a.updated);
  }

  async load(id: string): Promise<C | undefined> {
    return this.memory.get(id) ?? this.read(await this.attempt((store) => get<unknown>(key(id), store)));
  }

  async loadAll(ids: string[]): Promise<C[]> {
    const stored = (await this.attempt((store) => getMany<unknown>(ids.map(key), store))) ?? [];
    return ids.flatMap((id, at) => this.memory.get(id) ?? this.read(stored[at]) ?? []);
  }

  async save(head: H, conversation: C): Promise<boolean> {
    const kept: Kept<C> = { version: VERSION, value: conversation };
    const done = await this.attempt(async (store) => {
      await set(key(conversation.id), kept, store);
      await update<H[]>(
        HEADS,
        (heads) => [head, ...(Array.isArray(heads) ? heads : []).filter(({ id }) => id !== head.id)],
        store,
      );
      return true;
    });
    // Data that cannot be stored is kept while the page is open.
    if (done) this.memory.delete(conversation.id);
    else this.memory.set(conversation.id, conversation);
    return done === true;
  }

  async saveAll(entries: [head: H, conversation: C][], progress: (done: number) => void): Promise<boolean> {
    const done = await this.attempt((store) =>
      store("readwrite", (objects) => writeAll(objects, entries, progress)),
    );
    for (const [, conversation] of entries) {
      if (done) this.memory.delete(conversation.id);
      else this.memory.set(conversation.id, conversation);
    }
    return done === true;
  }

  async remove(id: string): Promise<void> {
    this.memory.delete(id);
    await this.attempt(async (store) => {
      await del(key(id), store);
      await update<H[]>(
        HEADS,
        (heads) => (Array.isArray(heads) ? heads : []).filter((head) => head.id !== id),
        store,
      );
    });
  }
}

export function openVault<H extends Entry, C extends H>(
  name: string,
  checks: Checks<H, C>,
  onState: (state: VaultState) => void,
): Vault<H, C> {
  return new IndexedVault(name, checks, onState);
}
