/**
 * Decides when a socket is probed with a ping, when it is doubted, and when it is given up. Times are arguments, of a
 * monotonic clock. A hidden page does not probe, because its timers are throttled.
 */

/** Time without a frame after which a ping is sent: with and without an open request. */
export const BUSY_QUIET_MS = 2_000;
export const IDLE_QUIET_MS = 15_000;
/** An unanswered ping is shown after the first time, and closes the socket after the second. */
export const DOUBT_MS = 3_000;
export const GIVE_UP_MS = 8_000;
/** Timeout of a ping after a sleep, when the socket may be dead. */
export const WAKE_MS = 3_000;
/** Timeout of a ping when the browser reports to be offline: a gateway that is still reachable is near. */
export const OFFLINE_MS = 1_000;
/** If a tick is later than this, the page itself was suspended and has unread frames. */
const LATE_MS = 1_000;
/** A ping is queued behind earlier data; even a slow line uploads this much. */
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
  /** When the data sent so far is estimated to be uploaded. */
  private sentBy = 0;

  constructor(now: number) {
    this.receivedAt = now;
  }

  /** Any received frame proves that the socket is alive. */
  received(now: number): void {
    this.receivedAt = now;
    this.ping = undefined;
  }

  sent(bytes: number, now: number): void {
    this.sentBy = Math.max(this.sentBy, now) + bytes / UPLOAD_BYTES_PER_MS;
  }

  /** Whether a request is open. */
  busy(isBusy: boolean, now: number): void {
    if (!isBusy) this.busyAt = undefined;
    else this.busyAt ??= now;
  }

  /** When visible again, it has to be probed; see `probe`. */
  setVisible(isVisible: boolean): void {
    this.isVisible = isVisible;
    if (!isVisible) this.ping = undefined;
  }

  /** A ping is sent now, with this timeout. */
  probe(timeoutMs: number, now: number): void {
    const giveUpAt = Math.max(now, this.sentBy) + timeoutMs;
    // An earlier ping with an earlier deadline is not extended.
    if (this.ping && this.ping.giveUpAt < giveUpAt) return;
    this.ping = { doubtAt: giveUpAt, giveUpAt, isDoubted: this.ping?.isDoubted ?? false };
  }

  get isDoubted(): boolean {
    return this.ping?.isDoubted === true;
  }

  get giveUpAt(): number | undefined {
    return this.ping?.giveUpAt;
  }

  /** When to call `tick`; undefined until something changes. */
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
