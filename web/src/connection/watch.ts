/** Keeps the timer of a socket's pulse, and has done what it says. */
import { Pulse } from "./pulse";

export interface Watched {
  clock(): number;
  ping(): void;
  /** It is given up after this many milliseconds more. */
  doubt(leftMs: number): void;
  /** It answers after all. */
  trust(): void;
  giveUp(): void;
}

export class Watch {
  private pulse: Pulse | undefined;
  private isSeen = true;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly watched: Watched) {}

  start(): void {
    this.pulse = new Pulse(this.watched.clock());
    this.pulse.seen(this.isSeen);
    this.arm();
  }

  stop(): void {
    this.pulse = undefined;
    clearTimeout(this.timer);
  }

  heard(): void {
    const { pulse } = this;
    if (!pulse) return;
    const wasDoubted = pulse.isDoubted;
    pulse.heard(this.watched.clock());
    if (wasDoubted) this.watched.trust();
    this.arm();
  }

  sent(bytes: number): void {
    this.pulse?.sent(bytes, this.watched.clock());
  }

  busy(isBusy: boolean): void {
    this.pulse?.busy(isBusy, this.watched.clock());
    this.arm();
  }

  /** Whoever shows the page again asks, too. */
  seen(isSeen: boolean): void {
    this.isSeen = isSeen;
    const wasDoubted = this.pulse?.isDoubted;
    this.pulse?.seen(isSeen);
    if (wasDoubted && !isSeen) this.watched.trust();
    this.arm();
  }

  /** A ping now; without any word for so long the socket is given up. */
  ask(patience: number): void {
    if (!this.pulse) return;
    this.pulse.ask(patience, this.watched.clock());
    this.watched.ping();
    this.arm();
  }

  private arm(): void {
    clearTimeout(this.timer);
    const due = this.pulse?.due;
    if (due === undefined) return;
    this.timer = setTimeout(() => this.tick(), Math.max(0, due - this.watched.clock()));
  }

  private tick(): void {
    const { pulse, watched } = this;
    if (!pulse) return;
    const verdict = pulse.tick(watched.clock());
    if (verdict === "ping") watched.ping();
    else if (verdict === "doubt") watched.doubt(Math.max(0, (pulse.giveUpAt ?? 0) - watched.clock()));
    else if (verdict === "give-up") watched.giveUp();
    this.arm();
  }
}
