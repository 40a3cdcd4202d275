/** What the rest of the page sees of its one socket. */
import type { ClientFrame, ServerFrame } from "../protocol/frames";

/** Why there is no socket. */
export type Cause =
  /** The network or the gateway cannot be reached; nothing else is known. */
  | "lost"
  /** 1012: the gateway stops and comes back. */
  | "restart"
  /** 1013, 4429: too many, or too slow a reader. */
  | "overloaded"
  /** Pings were not answered. */
  | "silent"
  /** 1002, 1003, 1007, 1008, 1009: coming back at once would end the same way. */
  | "policy"
  /** 4401, 4403: sign in, or ask the operator. */
  | "refused";

export type LinkState =
  | { kind: "connecting"; attempt: number }
  | { kind: "live" }
  /** `until`: epoch milliseconds of the next attempt. */
  | { kind: "waiting"; until: number; attempt: number; cause: Cause }
  | { kind: "offline" }
  /** No further attempt until a person asks for one. */
  | { kind: "refused"; cause: Cause }
  | { kind: "closed" };

export interface LinkEvents {
  state(state: LinkState): void;
  frame(frame: ServerFrame): void;
}

export interface Link {
  readonly state: LinkState;
  /** False: not live; nothing was kept. */
  send(frame: ClientFrame): boolean;
  /** At once, whatever the pause. */
  retry(): void;
  close(): void;
}
