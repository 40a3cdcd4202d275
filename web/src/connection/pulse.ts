/**
 * When a socket is asked for a sign of life, when it is doubted, and when it is given up. Times are arguments, from a
 * clock that only goes forward. A hidden page asks nothing: its timers are late, and nobody is looking.
 */

/** Silence after which a ping goes out: while something is under way, and otherwise. */
export const BUSY_QUIET_MS = 2_000;
export const IDLE_QUIET_MS = 15_000;
/** A ping without an answer for this long is worth saying, and for this long it ends the socket. */
export const DOUBT_MS = 3_000;
export const GIVE_UP_MS = 8_000;
/** After a sleep the socket may only seem to be there. */
export const WAKE_MS = 3_000;
/** The browser says that it is offline: a gateway that can be reached all the same is near. */
export const OFFLINE_MS = 1_000;
/** Later than this, the page itself stood still: what arrived meanwhile has not been read yet. */
const LATE_MS = 1_000;
/** A ping waits behind what was sent before it; even a poor line carries this much. */
const UPLOAD_BYTES_PER_MS = 32;

interface Ping {
  doubtAt: number;
  giveUpAt: number;
  isDoubted: boolean;
}

/** What to do now. */
export type Verdict = "nothing" | "ping" | "doubt" | "give-up";

export class Pulse {
  private receivedAt: number;
  private busyAt: number | undefined;
  private isVisible = true;
  private ping: Ping | undefined;
  /** What was sent has gone up by then. */
  private sentBy = 0;

  constructor(now: number) {
    this.receivedAt = now;
  }

  /** Whatever came is a sign of life. */
  received(now: number): void {
    this.receivedAt = now;
    this.ping = undefined;
  }

  sent(bytes: number, now: number): void {
    this.sentBy = Math.max(this.sentBy, now) + bytes / UPLOAD_BYTES_PER_MS;
  }

  /** Something is under way: a question, an answer. */
  busy(isBusy: boolean, now: number): void {
    if (!isBusy) this.busyAt = undefined;
    else this.busyAt ??= now;
  }

  /** Shown again, it has to be asked; see `ask`. */
  setVisible(isVisible: boolean): void {
    this.isVisible = isVisible;
    if (!isVisible) this.ping = undefined;
  }

  /** A ping goes out now, with a patience of its own. */
  probe(timeoutMs: number, now: number): void {
    const giveUpAt = Math.max(now, this.sentBy) + timeoutMs;
    // An earlier ping that is overdue gets no more time by this one.
    if (this.ping && this.ping.giveUpAt < giveUpAt) return;
    this.ping = { doubtAt: giveUpAt, giveUpAt, isDoubted: this.ping?.isDoubted ?? false };
  }

  get isDoubted(): boolean {
    return this.ping?.isDoubted === true;
  }

  get giveUpAt(): number | undefined {
    return this.ping?.giveUpAt;
  }

  /** When to call `tick`; undefined: not before something changes. */
  get due(): number | undefined {
    if (!this.isVisible) return undefined;
    if (this.ping) return this.ping.isDoubted ? this.ping.giveUpAt : this.ping.doubtAt;
    if (this.busyAt === undefined) return this.receivedAt + IDLE_QUIET_MS;
    return Math.min(Math.max(this.receivedAt, this.busyAt) + BUSY_QUIET_MS, this.receivedAt + IDLE_QUIET_MS);
  }

  tick(now: number): Verdict {
    const { due, ping } = this;
    if (due === undefined || now < due) return "nothing";
    if (now - due > LATE_MS) {
      this.ping = undefined;
      this.probe(WAKE_MS, now);
      return "ping";
    }
    if (!ping) {
      const from = Math.max(now, this.sentBy);
      this.ping = { doubtAt: from + DOUBT_MS, giveUpAt: from + GIVE_UP_MS, isDoubted: false };
      return "ping";
    }
    if (now >= ping.giveUpAt) return "give-up";
    ping.isDoubted = true;
    return "doubt";
  }
}
