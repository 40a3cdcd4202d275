/** A store of tails in memory. `room`: its capacity in characters. */
import type { TailStore } from "../storage/tail-store";

export function memoryTails(room = Number.POSITIVE_INFINITY) {
  const entries = new Map<string, string>();
  const store: TailStore = {
    keys: () => [...entries.keys()],
    read: (key) => entries.get(key) ?? null,
    write: (key, value) => {
      let used = value.length;
      for (const [other, text] of entries) if (other !== key) used += text.length;
      if (used <= room) entries.set(key, value);
      return used <= room;
    },
    remove: (key) => void entries.delete(key),
  };
  return Object.assign(store, { entries });
}
