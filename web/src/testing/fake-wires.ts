/** Fake sockets under the page's real connection; time is that of vitest's fake timers. */
import { vi } from "vitest";
import { type BrowserSignals, type Link, type LinkEvents, type LinkState, NotNow } from "../connection/link";
import type { Wire } from "../connection/socket";
import { createLink } from "../connection/turnover";
import type { ClientFrame, ServerFrame } from "../protocol/frames";

export class FakeWire implements Wire {
  onopen: Wire["onopen"] = null;
  onmessage: Wire["onmessage"] = null;
  onclose: Wire["onclose"] = null;
  onerror: Wire["onerror"] = null;
  sent: ClientFrame[] = [];
  isClosed = false;
  /** Pings are answered. */
  isAwake = false;

  send(data: string): void {
    const frame = JSON.parse(data) as ClientFrame;
    this.sent.push(frame);
    if (this.isAwake && frame.type === "ping") {
      queueMicrotask(() => this.say({ type: "pong", requestId: frame.requestId }));
    }
  }

  close(): void {
    this.isClosed = true;
  }

  /** The gateway sends this; pending pings are not answered by it. */
  say(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  pings(): number {
    return this.sent.filter(({ type }) => type === "ping").length;
  }

  /** Questions sent here, by request. */
  asked(): string[] {
    return this.sent.filter(({ type }) => type !== "ping").map((frame) => `${frame.type} ${frame.requestId}`);
  }
}

export class FakeNet {
  wires: FakeWire[] = [];
  states: LinkState[] = [];
  frames: ServerFrame[] = [];
  lost: string[] = [];
  leaving: boolean[] = [];
  /** For each attempt: whether it was made with a fresh request to the gateway. */
  prepared: boolean[] = [];
  isOnline = true;
  /** The gateway is draining and returns this time. */
  notNowMs: number | undefined;
  dialled: ((wire: FakeWire) => void) | undefined;
  readonly link: Link & BrowserSignals;

  /** `also`: a further receiver of the events. */
  constructor(random = 0.5, also: Partial<LinkEvents> = {}) {
    this.link = createLink(
      {
        open: () => {
          const wire = new FakeWire();
          this.wires.push(wire);
          this.dialled?.(wire);
          return wire;
        },
        prepare: (isAnew) => {
          this.prepared.push(isAnew);
          return this.notNowMs === undefined ? Promise.resolve() : Promise.reject(new NotNow(this.notNowMs));
        },
        random: () => random,
        now: () => Date.now(),
        clock: () => performance.now(),
        isOnline: () => this.isOnline,
      },
      {
        state: (state) => {
          this.states.push(state);
          also.state?.(state);
        },
        frame: (frame) => {
          this.frames.push(frame);
          also.frame?.(frame);
        },
        lost: (requests) => {
          this.lost.push(...requests);
          also.lost?.(requests);
        },
        leaving: (isLeaving) => void this.leaving.push(isLeaving),
      },
    );
  }

  get wire(): FakeWire {
    return this.wires.at(-1) as FakeWire;
  }

  async open(): Promise<FakeWire> {
    await vi.advanceTimersByTimeAsync(0);
    this.wire.onopen?.();
    return this.wire;
  }

  /** Milliseconds pass. */
  pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

  ask(request: string, chat = request): boolean {
    const messages = [{ id: `u-${request}`, role: "user" as const, parts: [] }];
    return this.link.send({
      type: "send",
      requestId: request,
      id: chat,
      trigger: "submit-message",
      messages,
    });
  }
}

export const refusal = (requestId: string, code = "draining") => ({
  type: "error",
  requestId,
  code,
  errorText: "",
  retryable: true,
});
