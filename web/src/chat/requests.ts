/** Requests that are open on the socket, and whose they are. */
import type { ClientFrame } from "../protocol/frames";
import type { Follow, Surroundings } from "./follow";
import { cursorAfter } from "./reduce";

type Unnamed<F> = F extends { requestId: string } ? Omit<F, "requestId"> : never;

export class Requests {
  private readonly open = new Map<string, Follow>();

  constructor(private readonly around: Pick<Surroundings, "link" | "newId">) {}

  get count(): number {
    return this.open.size;
  }

  of(request: string): Follow | undefined {
    return this.open.get(request);
  }

  /** False: there is no socket. */
  ask(follow: Follow, frame: Unnamed<ClientFrame>): boolean {
    return this.put(follow, frame, false, undefined);
  }

  /** Wants what comes after the number `applied`, or all of it. */
  resume(follow: Follow, chat: string, applied: number | undefined): boolean {
    return this.put(follow, resumeOf(chat, applied), true, applied);
  }

  abort(follow: Follow): void {
    if (follow.request !== null) this.around.link().send({ type: "abort", requestId: follow.request });
  }

  /** Stops an answer that nobody follows any more: only who follows may stop. */
  stopLate(chat: string, applied: number | undefined): void {
    const requestId = this.around.newId("r");
    this.around.link().send({ ...resumeOf(chat, applied), requestId });
    this.around.link().send({ type: "abort", requestId });
  }

  release(follow: Follow): void {
    if (follow.request !== null) this.open.delete(follow.request);
    follow.request = null;
  }

  /** Their socket is gone: whose they were. */
  lost(requests: readonly string[]): Follow[] {
    const follows = requests.flatMap((request) => this.open.get(request) ?? []);
    for (const follow of follows) this.release(follow);
    return follows;
  }

  private put(follow: Follow, frame: Unnamed<ClientFrame>, isResume: boolean, applied?: number): boolean {
    const requestId = this.around.newId("r");
    if (!this.around.link().send({ ...frame, requestId })) return false;
    follow.request = requestId;
    follow.isResume = isResume;
    follow.cursor = cursorAfter(applied);
    this.open.set(requestId, follow);
    return true;
  }
}

function resumeOf(chat: string, applied: number | undefined) {
  const after = applied === undefined ? {} : { lastSequence: applied };
  return { type: "resume", id: chat, ...after } as const;
}
