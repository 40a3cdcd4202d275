/** Pause before the next attempt, and the cause of the last loss. */
import type { Cause } from "./link";

export const FIRST_PAUSE_MS = 250;
export const LONGEST_PAUSE_MS = 30_000;
/** Bounds of a pause requested by a gateway. */
const ASKED_LEAST_MS = 1_000;
const ASKED_MOST_MS = 60_000;
/** Minimum pause while the browser has no network; see `LinkState`. */
const OFFLINE_LEAST_MS = 5_000;

/** Full jitter up to a bound that doubles, so that a thousand pages do not reconnect at once. */
export function pause(attempt: number, cause: Cause, random: () => number): number {
  const bound = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(attempt, 16));
  // An overloaded gateway gets a minimum pause, whatever the random number.
  const least = cause === "overloaded" ? 2_000 : cause === "restart" ? 300 : 0;
  return Math.round(least + random() * bound);
}

/** Pause requested by a gateway: not shorter, and with jitter. */
export function askedPause(afterMs: number, random: () => number): number {
  const asked = Math.min(ASKED_MOST_MS, Math.max(ASKED_LEAST_MS, afterMs));
  return Math.round(asked * (1 + 0.2 * random()));
}

/** The browser reports when its network is back; these attempts cover wrong reports. */
export const offlinePause = (attempt: number, random: () => number): number =>
  OFFLINE_LEAST_MS + pause(attempt, "lost", random);

/** Cause by close code; see the table in docs/PROTOCOL.md. */
export function causeOf(code: number): Cause {
  switch (code) {
    case 1012:
      return "restart";
    case 1013:
    case 4429:
      return "overloaded";
    case 1002:
    case 1003:
    case 1007:
    case 1009:
      return "policy";
    case 4401:
    case 4403:
      return "refused";
    default:
      return "lost";
  }
}

/** Reconnecting would fail the same way: the user decides. */
export const isFinal = (cause: Cause): boolean => cause === "refused";
