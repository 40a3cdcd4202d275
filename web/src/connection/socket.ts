/** The page's one socket: opens it, keeps it honest with pings, and comes back after a loss. */
import { decode } from "../protocol/decode";
import type { ClientFrame } from "../protocol/frames";
import { causeOf, isFinal, pause } from "./backoff";
import type { Cause, Link, LinkEvents, LinkState } from "./link";

export const PING_MS = 20_000;
/** An opening that takes longer has failed. */
const OPEN_MS = 10_000;
/** After a sleep the socket may only seem to be there: a short ping says. */
const WAKE_MS = 3_000;
/** A socket that held this long, or brought words, was a good one: the next pause begins small again. */
const GOOD_MS = 5_000;

/** Of a WebSocket, as much as is needed here. */
export interface Wire {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number }) => void) | null;
  onerror: (() => void) | null;
  send(data: string): void;
  close(code?: number): void;
}

export interface LinkSettings {
  open(): Wire;
  /** What must be there before a socket is opened (the cookie). A rejection counts as a lost attempt. */
  prepare(): Promise<void>;
  random(): number;
  now(): number;
  isOnline(): boolean;
}

class Socket implements Link {
  state: LinkState = { kind: "connecting", attempt: 0 };
  private wire: Wire | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private pinging: ReturnType<typeof setTimeout> | undefined;
  private attempt = 0;
  private openedAt = 0;
  private isUseful = false;
  private unanswered = 0;
  private pings = 0;
  /** Counts openings, so that what an older one has to say is dropped. */
  private round = 0;

  constructor(
    private readonly settings: LinkSettings,
    private readonly events: LinkEvents,
  ) {
    queueMicrotask(() => this.connect());
  }

  send(frame: ClientFrame): boolean {
    if (this.state.kind !== "live" || !this.wire) return false;
    this.wire.send(JSON.stringify(frame));
    return true;
  }

  retry(): void {
    if (this.state.kind === "live") this.ping(WAKE_MS);
    else if (this.state.kind !== "connecting" && this.state.kind !== "closed") this.connect();
  }

  close(): void {
    this.drop(1000);
    this.enter({ kind: "closed" });
  }

  private enter(state: LinkState): void {
    this.state = state;
    this.events.state(state);
  }

  private drop(code?: number): void {
    this.round += 1;
    clearTimeout(this.timer);
    clearTimeout(this.pinging);
    const wire = this.wire;
    this.wire = null;
    if (!wire) return;
    wire.onopen = wire.onmessage = wire.onclose = wire.onerror = null;
    try {
      wire.close(code);
    } catch {
      // It was never open.
    }
  }

  private connect(): void {
    if (this.state.kind === "closed") return;
    this.drop();
    const round = this.round;
    this.enter({ kind: "connecting", attempt: this.attempt });
    this.timer = setTimeout(() => this.lost("lost"), OPEN_MS);
    this.settings.prepare().then(
      () => {
        if (round === this.round) this.dial(round);
      },
      () => {
        if (round === this.round) this.lost("lost");
      },
    );
  }

  private dial(round: number): void {
    let wire: Wire;
    try {
      wire = this.settings.open();
    } catch {
      this.lost("lost");
      return;
    }
    this.wire = wire;
    wire.onopen = () => {
      if (round !== this.round) return;
      clearTimeout(this.timer);
      this.openedAt = this.settings.now();
      this.isUseful = false;
      this.unanswered = 0;
      this.enter({ kind: "live" });
      this.pinging = setTimeout(() => this.ping(PING_MS), PING_MS);
    };
    wire.onmessage = ({ data }) => {
      if (round !== this.round) return;
      this.unanswered = 0;
      const frame = decode(data);
      if (frame.type === "chunk") this.isUseful = true;
      if (frame.type !== "unknown" && frame.type !== "pong") this.events.frame(frame);
    };
    wire.onclose = ({ code }) => {
      if (round === this.round) this.lost(causeOf(code));
    };
  }

  /** Two pings without any word are too many; after a sleep one is. */
  private ping(patience: number): void {
    clearTimeout(this.pinging);
    if (patience === PING_MS && this.unanswered >= 2) {
      this.lost("silent");
      return;
    }
    this.unanswered += 1;
    this.pings += 1;
    this.send({ type: "ping", requestId: `ping-${this.pings}` });
    this.pinging = setTimeout(() => {
      if (patience === WAKE_MS && this.unanswered > 0) this.lost("silent");
      else this.ping(PING_MS);
    }, patience);
  }

  private lost(cause: Cause): void {
    const isOld = this.settings.now() - this.openedAt >= GOOD_MS;
    const wasGood = this.state.kind === "live" && (this.isUseful || isOld);
    this.drop();
    this.attempt = wasGood ? 0 : this.attempt + 1;
    if (isFinal(cause)) {
      this.enter({ kind: "refused", cause });
    } else if (!this.settings.isOnline()) {
      this.enter({ kind: "offline" });
    } else {
      const ms = pause(this.attempt, cause, this.settings.random);
      this.enter({ kind: "waiting", until: this.settings.now() + ms, attempt: this.attempt, cause });
      this.timer = setTimeout(() => this.connect(), ms);
    }
  }
}

export function createLink(settings: LinkSettings, events: LinkEvents): Link {
  return new Socket(settings, events);
}
