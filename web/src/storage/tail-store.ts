/** Tails in localStorage: what is written there is kept though the page goes in the same moment. Nothing here throws. */
const PREFIX = "tidegate.tail.";

export interface TailStore {
  /** Of all tabs. */
  keys(): string[];
  read(key: string): string | null;
  /** False: there is no room, or storage is blocked; what was there before stays. */
  write(key: string, value: string): boolean;
  remove(key: string): void;
}

export function openTailStore(): TailStore {
  const attempt = <T>(action: () => T, otherwise: T): T => {
    try {
      return action();
    } catch {
      return otherwise;
    }
  };
  return {
    keys: () =>
      attempt(
        () =>
          Object.keys(localStorage).flatMap((key) =>
            key.startsWith(PREFIX) ? [key.slice(PREFIX.length)] : [],
          ),
        [],
      ),
    read: (key) => attempt(() => localStorage.getItem(PREFIX + key), null),
    write: (key, value) =>
      attempt(() => {
        localStorage.setItem(PREFIX + key, value);
        return true;
      }, false),
    remove: (key) => attempt(() => localStorage.removeItem(PREFIX + key), undefined),
  };
}
