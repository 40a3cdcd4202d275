/**
 * The page's connection: one socket, and a second one while its gateway drains. A draining gateway finishes its running
 * answers and rejects questions: those go to another gateway, or wait for its successor.
 */
import type { ClientFrame, ServerFrame } from "../protocol/frames";
import { type BrowserSignals, isSound, type Link, type LinkEvents, type LinkState } from "./link";
import { type LinkSettings, Socket } from "./socket";

/** Maximum number of draining sockets with running answers. Beyond it, questions wait. */
const LEAVING_MAX = 3;

/** The socket for a frame: frames of a running answer go to its socket. */
function carrier(frame: ClientFrame, current: Socket, leaving: Iterable<Socket>): Socket {
  for (const socket of leaving) {
    if (frame.type === "abort" && socket.open.has(frame.requestId)) return socket;
    if (frame.type === "resume" && socket.open.carries(frame.id)) return socket;
  }
  return current;
}

/** The state shown: that of the current socket, or else of a draining one that does not answer. */
function overallState(current: Socket, leaving: Iterable<Socket>): LinkState {
  if (!isSound(current.state)) return current.state;
  for (const { state } of leaving) if (state.kind === "live" && !isSound(state)) return state;
  return current.state;
}

class Turnover implements Link, BrowserSignals {
  private current: Socket;
  private readonly leaving = new Set<Socket>();
  private isVisible = true;

  constructor(
    private readonly settings: LinkSettings,
    private readonly events: LinkEvents,
  ) {
    this.current = this.make(false);
  }

  get state(): LinkState {
    return overallState(this.current, this.leaving);
  }

  send(frame: ClientFrame): boolean {
    const socket = carrier(frame, this.current, this.leaving);
    const isSent = socket.send(frame);
    this.release(socket);
    return isSent;
  }

  retry(): void {
    // A draining gateway accepts no new socket: the old one is probed, and kept as long as possible.
    for (const socket of this.leaving) socket.wake();
    this.current.retry();
  }

  wake(): void {
    for (const socket of this.all()) socket.wake();
  }

  offline(): void {
    for (const socket of this.all()) socket.offline();
  }

  setVisible(isVisible: boolean): void {
    this.isVisible = isVisible;
    for (const socket of this.all()) socket.setVisible(isVisible);
  }

  close(): void {
    for (const socket of this.all()) socket.close();
  }

  private all(): Socket[] {
    return [...this.leaving, this.current];
  }

  private make(isAnew: boolean): Socket {
    const socket: Socket = new Socket(
      this.settings,
      {
        state: (state) => this.entered(socket, state),
        frame: (frame) => this.received(socket, frame),
        lost: (requests) => this.events.lost(requests),
      },
      isAnew,
    );
    socket.setVisible(this.isVisible);
    return socket;
  }

  private entered(socket: Socket, state: LinkState): void {
    if (socket === this.current) this.events.state(this.state);
    else if (state.kind === "closed") this.gone(socket);
    else this.events.state(this.state);
  }

  private received(socket: Socket, frame: ServerFrame): void {
    const isRefusal = frame.type === "error" && frame.fault.code === "draining";
    if (isRefusal && socket === this.current) this.turn();
    this.events.frame(frame);
    this.release(socket);
  }

  /** The gateway accepts nothing new: opens another socket for new requests. */
  private turn(): void {
    const old = this.current;
    if (old.open.isEmpty) {
      old.move();
    } else if (this.leaving.size < LEAVING_MAX) {
      old.leave();
      this.leaving.add(old);
      this.current = this.make(true);
      if (this.leaving.size === 1) this.events.leaving(true);
      this.events.state(this.state);
    }
  }

  /** Closes a draining socket after its last answer. */
  private release(socket: Socket): void {
    if (this.leaving.has(socket) && socket.open.isEmpty) socket.close();
  }

  private gone(socket: Socket): void {
    if (!this.leaving.delete(socket)) return;
    if (this.leaving.size === 0) this.events.leaving(false);
    this.current.hurry();
    this.events.state(this.state);
  }
}

export function createLink(settings: LinkSettings, events: LinkEvents): Link & BrowserSignals {
  return new Turnover(settings, events);
}
