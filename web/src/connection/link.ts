/** The connection as seen by the rest of the page. */
import type { ClientFrame, ServerFrame } from "../protocol/frames";

/** Why there is no socket. */
export type Cause =
  /** Network or gateway unreachable; nothing else is known. */
  | "lost"
  /** 1012, or a question rejected as `draining`: the gateway restarts. */
  | "restart"
  /** 1013, 4429: too many frames, or reading too slowly. */
  | "overloaded"
  /** A ping or a handshake timed out. */
  | "silent"
  /** 1002, 1003, 1007, 1009: reconnecting would end the same way. */
  | "policy"
  /** 4401, 4403: sign in, or ask the operator. */
  | "refused";

export type LinkState =
  /** `cause`: of the previous loss; none at the first attempt. */
  | { kind: "connecting"; attempt: number; cause?: Cause }
  /** `doubted`: a ping is overdue; the socket is closed at this time (epoch milliseconds). */
  | { kind: "live"; doubted?: number }
  /** `until`: epoch milliseconds of the next attempt. */
  | { kind: "waiting"; until: number; attempt: number; cause: Cause }
  /** The browser reports no network. Rare attempts continue silently, since it may be wrong about this gateway. */
  | { kind: "offline" }
  /** No further attempt until the user requests one. */
  | { kind: "refused"; cause: Cause }
  | { kind: "closed" };

/** Whether nothing needs to be shown. */
export const isSound = (state: LinkState): boolean => state.kind === "live" && state.doubted === undefined;

export interface LinkEvents {
  /** State of the socket for new requests. */
  state(state: LinkState): void;
  frame(frame: ServerFrame): void;
  /** These requests were open on a socket that was closed. */
  lost(requests: string[]): void;
  /** Whether answers still arrive on a socket for no new requests: its gateway is draining. */
  leaving(isLeaving: boolean): void;
}

export interface Link {
  readonly state: LinkState;
  /** False if no socket is open; nothing is queued. */
  send(frame: ClientFrame): boolean;
  /** The user requests an attempt now, whatever the state. */
  retry(): void;
  close(): void;
}

/** Events reported by the browser. */
export interface BrowserSignals {
  /** The network may have changed: probes a live socket, reopens a lost one. */
  wake(): void;
  /** The browser reports that its network is gone. */
  offline(): void;
  setVisible(isVisible: boolean): void;
}

/** Thrown by `prepare`: the gateway answers, but accepts no sockets for this time. */
export class NotNow extends Error {
  constructor(readonly afterMs: number) {
    super(`not for ${afterMs} ms`);
  }
}
