/** One socket: opened, monitored with pings, and reopened after a loss. */
import { decode } from "../protocol/decode";
import type { ClientFrame } from "../protocol/frames";
import { askedPause, causeOf, isFinal, offlinePause, pause } from "./backoff";
import { type BrowserSignals, type Cause, type LinkEvents, type LinkState, NotNow } from "./link";
import { OpenRequests } from "./open-requests";
import { OFFLINE_MS, WAKE_MS } from "./pulse";
import { PulseTimer } from "./watch";

/** Timeout of opening a socket. */
export const OPEN_MS = 10_000;
/** A socket that was open this long, or delivered text, resets the backoff. */
const GOOD_MS = 5_000;
/** After this many attempts, a restarting gateway counts as unreachable. */
const RESTART_ATTEMPTS = 6;

/** The part of WebSocket that is used here. */
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
  /**
   * Called before a socket is opened (sets the cookie). A rejection counts as a failed attempt, `NotNow` as an early
   * one. `isAnew`: the last gateway is stopping, so what is known of it does not apply.
   */
  prepare(isAnew: boolean): Promise<void>;
  random(): number;
  /** Epoch milliseconds, for times shown to the user. */
  now(): number;
  /** Milliseconds of a monotonic clock, for measurements. */
  clock(): number;
  isOnline(): boolean;
}

export type SocketEvents = Omit<LinkEvents, "leaving">;

export class Socket implements BrowserSignals {
  state: LinkState = { kind: "connecting", attempt: 0 };
  readonly open = new OpenRequests();
  private wire: Wire | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private attempt = 0;
  /** Cause of the last loss. */
  private cause: Cause | undefined;
  private openedAt = 0;
  private isUseful = false;
  private isLeaving = false;
  private isHurried = false;
  /** The browser reported to be offline, and nothing was received since. */
  private isCutOff = false;
  private pings = 0;
  private readonly watch = new PulseTimer({
    clock: () => this.settings.clock(),
    ping: () => this.ping(),
    doubt: (leftMs) => this.enter({ kind: "live", doubted: this.settings.now() + leftMs }),
    trust: () => this.enter({ kind: "live" }),
    giveUp: () => this.lost("silent"),
  });
  /** Number of the attempt, so that events of older ones are dropped. */
  private round = 0;

  constructor(
    private readonly settings: LinkSettings,
    private readonly events: SocketEvents,
    private isAnew = false,
  ) {
    queueMicrotask(() => this.connect());
  }

  send(frame: ClientFrame): boolean {
    if (this.state.kind !== "live" || !this.wire) return false;
    const data = JSON.stringify(frame);
    this.wire.send(data);
    this.open.sent(frame);
    this.watch.sent(data.length);
    this.watch.busy(!this.open.isEmpty);
    return true;
  }

  /** A live socket is probed, unless it is doubted already. */
  retry(): void {
    if (this.state.kind === "live" && this.state.doubted === undefined) this.watch.probe(WAKE_MS);
    else if (this.state.kind !== "connecting") this.connect();
  }

  wake(): void {
    this.isCutOff = false;
    if (this.state.kind === "live") this.watch.probe(WAKE_MS);
    else if (this.state.kind !== "connecting") this.connect();
  }

  offline(): void {
    if (this.state.kind !== "live") return;
    this.isCutOff = true;
    this.watch.probe(OFFLINE_MS);
  }

  setVisible(isVisible: boolean): void {
    this.watch.setVisible(isVisible);
  }

  /** The gateway rejected a question because it is draining, and nothing else runs here: reconnects at once. */
  move(): void {
    this.isAnew = true;
    this.attempt = 0;
    this.connect();
  }

  /** Accepts no new requests; it is not reopened. */
  leave(): void {
    this.isLeaving = true;
  }

  /** The draining gateway has just exited: its successor will be ready soon. */
  hurry(): void {
    // A running attempt may still have reached the old gateway.
    this.isHurried = this.state.kind === "connecting";
    if (this.state.kind !== "waiting") return;
    const ms = pause(0, "restart", this.settings.random);
    if (this.state.until - this.settings.now() > ms) this.wait("restart", ms);
  }

  close(): void {
    this.end({ kind: "closed" }, 1000);
  }

  private enter(state: LinkState): void {
    this.state = state;
    this.events.state(state);
  }

  /** Drops the wire and reports the requests lost with it. */
  private end(state: LinkState, code?: number): void {
    this.round += 1;
    clearTimeout(this.timer);
    this.watch.stop();
    const wire = this.wire;
    this.wire = null;
    if (wire) {
      wire.onopen = wire.onmessage = wire.onclose = wire.onerror = null;
      try {
        wire.close(code);
      } catch {
        // It was never open.
      }
    }
    const requests = this.open.clear();
    this.enter(state);
    if (requests.length > 0) this.events.lost(requests);
  }

  private connect(): void {
    if (this.state.kind === "closed") return;
    const isOffline = this.state.kind === "offline" && !this.settings.isOnline();
    const cause = this.cause === undefined ? {} : { cause: this.cause };
    this.end(isOffline ? this.state : { kind: "connecting", attempt: this.attempt, ...cause });
    const round = this.round;
    this.timer = setTimeout(() => this.lost("silent"), OPEN_MS);
    this.settings.prepare(this.isAnew).then(
      () => {
        if (round === this.round) this.dial(round);
      },
      (error: unknown) => {
        if (round !== this.round) return;
        if (error instanceof NotNow) this.wait("restart", this.pauseAfter(error));
        else this.lost(this.isAnew && this.attempt < RESTART_ATTEMPTS ? "restart" : "lost");
      },
    );
  }

  private pauseAfter({ afterMs }: NotNow): number {
    const { random } = this.settings;
    const ms = this.isHurried ? pause(0, "restart", random) : askedPause(afterMs, random);
    this.isHurried = false;
    return ms;
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
      if (round === this.round) this.opened();
    };
    wire.onmessage = ({ data }) => {
      if (round === this.round) this.received(data);
    };
    wire.onclose = ({ code }) => {
      if (round === this.round) this.lost(causeOf(code));
    };
  }

  private opened(): void {
    clearTimeout(this.timer);
    this.openedAt = this.settings.clock();
    this.isUseful = false;
    this.cause = undefined;
    this.isAnew = false;
    this.isCutOff = false;
    this.watch.start();
    this.enter({ kind: "live" });
  }

  private received(data: unknown): void {
    this.isCutOff = false;
    this.watch.received();
    const frame = decode(data);
    if (frame.type === "chunk") this.isUseful = true;
    if (frame.type === "unknown" || frame.type === "pong") return;
    this.open.got(frame);
    this.watch.busy(!this.open.isEmpty);
    this.events.frame(frame);
  }

  private ping(): void {
    this.pings += 1;
    this.send({ type: "ping", requestId: `ping-${this.pings}` });
  }

  private wait(cause: Cause, ms: number): void {
    this.cause = cause;
    this.end({ kind: "waiting", until: this.settings.now() + ms, attempt: this.attempt, cause });
    this.timer = setTimeout(() => this.connect(), ms);
  }

  private lost(cause: Cause): void {
    const wasLive = this.state.kind === "live";
    const isOld = this.settings.clock() - this.openedAt >= GOOD_MS;
    this.attempt = wasLive && (this.isUseful || isOld) ? 0 : this.attempt + 1;
    if (cause === "restart") this.isAnew = true;
    if (this.isLeaving) {
      this.end({ kind: "closed" });
    } else if (isFinal(cause)) {
      this.end({ kind: "refused", cause });
    } else if (!this.settings.isOnline() || (wasLive && this.isCutOff)) {
      this.end({ kind: "offline" });
      const ms = offlinePause(this.attempt, this.settings.random);
      this.timer = setTimeout(() => this.connect(), ms);
    } else {
      this.wait(cause, pause(this.attempt, cause, this.settings.random));
    }
  }
}
