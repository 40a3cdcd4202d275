/** Tails in localStorage, which survive a page that is closed at the same moment. Never throws. */
const PREFIX = "tidegate.tail.";

export interface TailStore {
  /** Keys of all tabs. */
  keys(): string[];
  read(key: string): string | null;
  /** False if storage is full or blocked; the previous value stays. */
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
