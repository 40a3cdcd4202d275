/** What the rest of the page sees of its connection. */
import type { ClientFrame, ServerFrame } from "../protocol/frames";

/** Why there is no socket. */
export type Cause =
  /** The network or the gateway cannot be reached; nothing else is known. */
  | "lost"
  /** 1012, or a question refused as `draining`: the gateway stops and comes back. */
  | "restart"
  /** 1013, 4429: too many, or too slow a reader. */
  | "overloaded"
  /** A ping or a handshake was not answered. */
  | "silent"
  /** 1002, 1003, 1007, 1009: coming back at once would end the same way. */
  | "policy"
  /** 4401, 4403: sign in, or ask the operator. */
  | "refused";

export type LinkState =
  /** `cause`: of the loss before; none at the first opening. */
  | { kind: "connecting"; attempt: number; cause?: Cause }
  /** `doubted`: a ping is overdue; the socket is given up at this time (epoch milliseconds). */
  | { kind: "live"; doubted?: number }
  /** `until`: epoch milliseconds of the next attempt. */
  | { kind: "waiting"; until: number; attempt: number; cause: Cause }
  /** The browser has no network. Attempts go on, seldom and unmentioned: it may be wrong about this gateway. */
  | { kind: "offline" }
  /** No further attempt until a person asks for one. */
  | { kind: "refused"; cause: Cause }
  | { kind: "closed" };

/** Nothing needs to be said of it. */
export const isSound = (state: LinkState): boolean => state.kind === "live" && state.doubted === undefined;

export interface LinkEvents {
  /** Of the socket that takes what is new. */
  state(state: LinkState): void;
  frame(frame: ServerFrame): void;
  /** These requests were open on a socket that is gone. */
  lost(requests: string[]): void;
  /** Whether answers still arrive on a socket that takes nothing new: its gateway is draining. */
  leaving(isLeaving: boolean): void;
}

export interface Link {
  readonly state: LinkState;
  /** False: no socket takes it now; nothing was kept. */
  send(frame: ClientFrame): boolean;
  /** A person wants a new attempt at once, whatever the state. */
  retry(): void;
  close(): void;
}

/** What the browser reports. */
export interface BrowserSignals {
  /** Something may have changed: a live socket is asked whether it still is, a lost one is opened. */
  wake(): void;
  /** The browser believes that its network is gone. */
  offline(): void;
  setVisible(isVisible: boolean): void;
}

/** Thrown by `prepare`: the gateway answers, but takes no sockets for a while. */
export class NotNow extends Error {
  constructor(readonly afterMs: number) {
    super(`not for ${afterMs} ms`);
  }
}
