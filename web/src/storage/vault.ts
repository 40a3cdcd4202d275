/** Conversations in IndexedDB; in memory where that is blocked. Nothing here throws: the page works without it. */
import { createStore, del, get, getMany, keys, set, type UseStore, update } from "idb-keyval";

export type VaultState = "ok" | "full" | "blocked";

/** What is kept of a thing in the list of conversations. */
export interface Entry {
  id: string;
  updated: number;
}

export interface Vault<H extends Entry, C extends H> {
  heads(): Promise<H[]>;
  load(id: string): Promise<C | undefined>;
  loadAll(ids: string[]): Promise<C[]>;
  /** False: it is only in memory. */
  save(head: H, conversation: C): Promise<boolean>;
  /** All of them or none, in one transaction. False: they are only in memory. */
  saveAll(entries: [head: H, conversation: C][], progress: (done: number) => void): Promise<boolean>;
  remove(id: string): Promise<void>;
}

/** Counts up when what is stored can no longer be read as it is. */
const VERSION = 1;
interface Kept<C> {
  version: number;
  value: C;
}

const HEADS = "heads";
const key = (id: string): string => `c:${id}`;

export interface Checks<H, C> {
  /** Reads what was stored, by this version or an older one; undefined: it is damaged, and is left out. */
  conversation(value: unknown): C | undefined;
  head(conversation: C): H;
}

/** Writes one after another: what a browser copies in one go is time in which nothing is drawn. */
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
    private readonly tell: (state: VaultState) => void,
  ) {
    try {
      this.store = createStore(name, "conversations");
    } catch {
      this.store = null;
      tell("blocked");
    }
  }

  private failed(error: unknown): void {
    const isFull = error instanceof DOMException && error.name === "QuotaExceededError";
    if (!isFull) this.broken = true;
    this.tell(isFull ? "full" : "blocked");
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
      // No list, or a damaged one: the conversations themselves are the truth.
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
    // What cannot be stored is kept while the page is open.
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
  tell: (state: VaultState) => void,
): Vault<H, C> {
  return new IndexedVault(name, checks, tell);
}
