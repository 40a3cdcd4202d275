/** Owns the timer of a socket's pulse and performs its verdicts. */
import { Pulse } from "./pulse";

export interface PulseTarget {
  clock(): number;
  ping(): void;
  /** The socket will be closed in this many milliseconds. */
  doubt(leftMs: number): void;
  /** It has answered after all. */
  trust(): void;
  giveUp(): void;
}

export class PulseTimer {
  private pulse: Pulse | undefined;
  private isVisible = true;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly target: PulseTarget) {}

  start(): void {
    this.pulse = new Pulse(this.target.clock());
    this.pulse.setVisible(this.isVisible);
    this.arm();
  }

  stop(): void {
    this.pulse = undefined;
    clearTimeout(this.timer);
  }

  received(): void {
    const { pulse } = this;
    if (!pulse) return;
    const wasDoubted = pulse.isDoubted;
    pulse.received(this.target.clock());
    if (wasDoubted) this.target.trust();
    this.arm();
  }

  sent(bytes: number): void {
    this.pulse?.sent(bytes, this.target.clock());
  }

  busy(isBusy: boolean): void {
    this.pulse?.busy(isBusy, this.target.clock());
    this.arm();
  }

  /** The browser's visibility event also triggers a probe. */
  setVisible(isVisible: boolean): void {
    this.isVisible = isVisible;
    const wasDoubted = this.pulse?.isDoubted;
    this.pulse?.setVisible(isVisible);
    if (wasDoubted && !isVisible) this.target.trust();
    this.arm();
  }

  /** Sends a ping; without any frame within the timeout the socket is closed. */
  probe(timeoutMs: number): void {
    if (!this.pulse) return;
    this.pulse.probe(timeoutMs, this.target.clock());
    this.target.ping();
    this.arm();
  }

  private arm(): void {
    clearTimeout(this.timer);
    const due = this.pulse?.due;
    if (due === undefined) return;
    this.timer = setTimeout(() => this.tick(), Math.max(0, due - this.target.clock()));
  }

  private tick(): void {
    const { pulse, target } = this;
    if (!pulse) return;
    const verdict = pulse.tick(target.clock());
    if (verdict === "ping") target.ping();
    else if (verdict === "doubt") target.doubt(Math.max(0, (pulse.giveUpAt ?? 0) - target.clock()));
    else if (verdict === "give-up") target.giveUp();
    this.arm();
  }
}
