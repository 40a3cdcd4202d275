/** One socket: opened, kept honest with pings, and opened again after a loss. */
import { decode } from "../protocol/decode";
import type { ClientFrame } from "../protocol/frames";
import { askedPause, causeOf, isFinal, offlinePause, pause } from "./backoff";
import { type BrowserSignals, type Cause, type LinkEvents, type LinkState, NotNow } from "./link";
import { OpenRequests } from "./open-requests";
import { OFFLINE_MS, WAKE_MS } from "./pulse";
import { PulseTimer } from "./watch";

/** An opening that takes longer has failed. */
export const OPEN_MS = 10_000;
/** A socket that held this long, or brought words, was a good one: the next pause begins small again. */
const GOOD_MS = 5_000;
/** A gateway that said that it restarts, and is not back after so many attempts, is just away. */
const RESTART_ATTEMPTS = 6;

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
  /**
   * What must be there before a socket is opened (the cookie). A rejection counts as a lost attempt, one with `NotNow` as
   * an attempt too early. `isAnew`: the last gateway is stopping, so what is known of it does not help.
   */
  prepare(isAnew: boolean): Promise<void>;
  random(): number;
  /** Epoch milliseconds: what is shown to a person. */
  now(): number;
  /** Milliseconds of a clock that only goes forward: what is measured. */
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
  /** Why it is not live. */
  private cause: Cause | undefined;
  private openedAt = 0;
  private isUseful = false;
  private isLeaving = false;
  private isHurried = false;
  /** The browser said that it is offline, and nothing was heard since. */
  private isCutOff = false;
  private pings = 0;
  private readonly watch = new PulseTimer({
    clock: () => this.settings.clock(),
    ping: () => this.ping(),
    doubt: (leftMs) => this.enter({ kind: "live", doubted: this.settings.now() + leftMs }),
    trust: () => this.enter({ kind: "live" }),
    giveUp: () => this.lost("silent"),
  });
  /** Counts openings, so that what an older one has to say is dropped. */
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

  /** A live socket is believed, unless it is doubted already. */
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

  /** The gateway refused a question because it is stopping, and nothing else runs here: goes to another at once. */
  move(): void {
    this.isAnew = true;
    this.attempt = 0;
    this.connect();
  }

  /** Nothing new goes here. It is not opened again. */
  leave(): void {
    this.isLeaving = true;
  }

  /** The gateway that it waits for has just ended: it will soon be back. */
  hurry(): void {
    // An attempt that is under way may still have met the old gateway.
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

  /** Leaves the wire, and tells whose answers went with it. */
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
