/** Requests that are open on the socket, with their answers. */
import type { ClientFrame } from "../protocol/frames";
import { cursorAfter } from "./reduce";
import type { TrackedAnswer, TrackerHost } from "./tracked-answer";

/** A turn of a chat by the id of its question or answer; without one, the newest turn. */
export interface TurnRef {
  chat: string;
  messageId?: string;
  /** The run of the answer whose numbers are known; absent: the first. */
  run?: number;
}

type Unnamed<F> = F extends { requestId: string } ? Omit<F, "requestId"> : never;

export class Requests {
  private readonly open = new Map<string, TrackedAnswer>();

  constructor(private readonly host: Pick<TrackerHost, "link" | "newId">) {}

  get count(): number {
    return this.open.size;
  }

  of(request: string): TrackedAnswer | undefined {
    return this.open.get(request);
  }

  /** False if there is no socket. */
  ask(tracked: TrackedAnswer, frame: Unnamed<ClientFrame>): boolean {
    return this.put(tracked, frame, false, undefined);
  }

  /** Requests what follows the number `applied`, or the whole answer. */
  resume(tracked: TrackedAnswer, turn: TurnRef, applied: number | undefined): boolean {
    return this.put(tracked, resumeOf(turn, applied), true, applied);
  }

  abort(tracked: TrackedAnswer): void {
    if (tracked.request !== null) this.host.link().send({ type: "abort", requestId: tracked.request });
  }

  /** Stops an answer that is no longer followed: only a follower may stop, so it resumes first. */
  stopLate(turn: TurnRef, applied: number | undefined): void {
    const requestId = this.host.newId("r");
    this.host.link().send({ ...resumeOf(turn, applied), requestId });
    this.host.link().send({ type: "abort", requestId });
  }

  release(tracked: TrackedAnswer): void {
    if (tracked.request !== null) this.open.delete(tracked.request);
    tracked.request = null;
  }

  /** Releases the requests of a closed socket and returns their answers. */
  lost(requests: readonly string[]): TrackedAnswer[] {
    const lost = requests.flatMap((request) => this.open.get(request) ?? []);
    for (const tracked of lost) this.release(tracked);
    return lost;
  }

  private put(
    tracked: TrackedAnswer,
    frame: Unnamed<ClientFrame>,
    isResume: boolean,
    applied?: number,
  ): boolean {
    const requestId = this.host.newId("r");
    if (!this.host.link().send({ ...frame, requestId })) return false;
    tracked.request = requestId;
    tracked.isResume = isResume;
    tracked.cursor = cursorAfter(applied);
    this.open.set(requestId, tracked);
    return true;
  }
}

function resumeOf({ chat, messageId, run }: TurnRef, applied: number | undefined) {
  const turn = messageId === undefined ? {} : { messageId };
  const after = applied === undefined ? {} : { lastSequence: applied, ...(run === undefined ? {} : { run }) };
  return { type: "resume", id: chat, ...turn, ...after } as const;
}
