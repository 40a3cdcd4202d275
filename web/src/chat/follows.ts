/** Every answer that is not finished: asks for it, follows it, and finds it again after a loss. */
import type { Link } from "../connection/link";
import type { Fault, ServerFrame } from "../protocol/frames";
import type { PageConfig } from "./contract";
import { type AssistantMessage, type Conversation, type UserMessage, wireId } from "./model";
import type { Remembered } from "./page-config";
import { plan } from "./plan";
import { type Cursor, cursorAfter, isRunning, reduce } from "./reduce";
import { answerOf, userOf } from "./tree";

/** A message that waited longer for a socket is not sent without asking. */
export const STALE_MS = 3_600_000;
const TRIES_MAX = 5;
/** Requests of ours that were not taken: the gateway does not hold the message. */
const NOT_TAKEN = new Set([
  "empty_message",
  "message_too_long",
  "malformed",
  "bad_id",
  "unsupported_part",
  "queue_full",
]);
const INTERRUPTED: Fault = { code: "interrupted", text: "", retryable: true };

interface Follow {
  conversation: string;
  answer: AssistantMessage;
  /** The request that is open for it; none while there is no socket. */
  request: string | null;
  isResume: boolean;
  cursor: Cursor;
  /** Asked by another tab: it is followed, and never asked again from here. */
  isForeign: boolean;
  tries: number;
}

/** What the follows need of the rest. */
export interface Surroundings {
  link(): Link;
  config(): PageConfig | null;
  conversation(id: string): Conversation | undefined;
  setConversation(conversation: Conversation): void;
  /** The answer has news; gathered, and shown with the next frame. */
  written(conversation: string, answer: AssistantMessage, isForeign: boolean): void;
  /** The answer is finished, or is no longer followed. */
  settled(conversation: string, answer: AssistantMessage): void;
  /** A message was not taken, or nothing came of it. */
  failed(conversation: string, question: string, code: string): void;
  transcript(chat: string): Promise<Remembered | null>;
  now(): number;
  newId(prefix: string): string;
}

export class Follows {
  private readonly follows = new Map<string, Follow>();
  private readonly requests = new Map<string, Follow>();
  /** Stops that could not be told for want of a socket. */
  private readonly stops = new Map<string, number | undefined>();
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();

  constructor(private readonly around: Surroundings) {}

  has(answer: string): boolean {
    return this.follows.has(answer);
  }

  /** The newest state of an answer that is followed. */
  answer(id: string): AssistantMessage | undefined {
    return this.follows.get(id)?.answer;
  }

  ofConversation(id: string): AssistantMessage[] {
    return [...this.follows.values()]
      .filter((follow) => follow.conversation === id)
      .map(({ answer }) => answer);
  }

  /** Takes care of an answer until it is finished. */
  begin(conversation: string, answer: AssistantMessage, isForeign = false): void {
    if (this.follows.has(answer.id)) return;
    const follow: Follow = {
      conversation,
      answer,
      request: null,
      isResume: false,
      cursor: cursorAfter(answer.applied),
      isForeign,
      tries: 0,
    };
    this.follows.set(answer.id, follow);
    if (this.around.link().state.kind === "live") this.open(follow);
  }

  /** The socket is there (again). */
  live(): void {
    for (const [chat, applied] of this.stops) this.stopLate(chat, applied);
    this.stops.clear();
    const all = [...this.follows.values()].sort((a, b) => a.answer.created - b.answer.created);
    for (const follow of all) this.open(follow);
  }

  /** The socket is gone: no request is open any more. */
  lost(): void {
    this.requests.clear();
    for (const follow of this.follows.values()) follow.request = null;
  }

  stop(id: string): void {
    const follow = this.follows.get(id);
    const conversation = follow && this.around.conversation(follow.conversation);
    if (!follow || !conversation) return;
    const question = userOf(conversation, follow.answer.parent);
    if (follow.request !== null) this.around.link().send({ type: "abort", requestId: follow.request });
    else if (question?.delivery === "sent" || question?.delivery === "accepted") {
      this.stops.set(wireId(conversation), follow.answer.applied);
    }
    const { queuePosition: _, retrying: __, ...answer } = follow.answer;
    this.finish(follow, { ...answer, outcome: "stopped" });
  }

  /** Without a word to anybody: what is removed is not followed. */
  drop(conversation: string): void {
    for (const follow of [...this.follows.values()]) {
      if (follow.conversation !== conversation) continue;
      if (follow.request !== null) this.around.link().send({ type: "abort", requestId: follow.request });
      this.forget(follow);
    }
  }

  close(): void {
    for (const timer of this.timers) clearTimeout(timer);
  }

  frame(frame: ServerFrame): void {
    if (frame.type === "unknown") return;
    const follow = this.requests.get(frame.requestId);
    if (!follow) return;
    if (frame.type === "chunk" || frame.type === "start") this.accepted(follow);
    const step = reduce(follow.answer, follow.cursor, frame, this.around.now());
    follow.cursor = step.cursor;
    if (step.answer !== follow.answer) {
      follow.answer = step.answer;
      this.around.written(follow.conversation, step.answer, follow.isForeign);
    }
    switch (step.verdict) {
      case "go-on":
        break;
      case "over":
        this.finish(follow, step.answer);
        break;
      case "hole":
        this.release(follow);
        this.resume(follow, follow.answer.applied);
        break;
      case "another":
      case "no-active":
        this.release(follow);
        void this.recall(follow);
        break;
      case "refused":
        if (frame.type === "error") this.refused(follow, frame.fault);
        break;
    }
  }

  private forget(follow: Follow): void {
    this.release(follow);
    this.follows.delete(follow.answer.id);
  }

  private release(follow: Follow): void {
    if (follow.request !== null) this.requests.delete(follow.request);
    follow.request = null;
  }

  private finish(follow: Follow, answer: AssistantMessage): void {
    this.forget(follow);
    this.around.settled(follow.conversation, answer);
    this.openNext(follow.conversation);
  }

  private later(ms: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      action();
    }, ms);
    this.timers.add(timer);
  }

  private setDelivery(follow: Follow, delivery: UserMessage["delivery"]): void {
    const conversation = this.around.conversation(follow.conversation);
    const question = conversation && userOf(conversation, follow.answer.parent);
    if (!question || question.delivery === delivery) return;
    const { fault: _, ...rest } = question;
    const messages = { ...conversation.messages, [question.id]: { ...rest, delivery } };
    this.around.setConversation({ ...conversation, messages });
  }

  private accepted(follow: Follow): void {
    follow.tries = 0;
    this.setDelivery(follow, "accepted");
  }

  /** Asks, or asks again under the same name, or resumes: by what is known to have arrived. */
  private open(follow: Follow): void {
    if (follow.request !== null) return;
    const conversation = this.around.conversation(follow.conversation);
    const question = conversation && userOf(conversation, follow.answer.parent);
    if (!question || !answerOf(conversation, follow.answer.id)) {
      this.forget(follow);
    } else if (
      follow.isForeign ||
      (question.delivery === "accepted" && follow.answer.applied !== undefined)
    ) {
      this.resume(follow, follow.answer.applied);
    } else if (question.delivery !== "accepted" && this.around.now() - question.created > STALE_MS) {
      this.setDelivery(follow, "stale");
      this.forget(follow);
    } else if (this.isRoomFor(follow)) {
      this.ask(follow, conversation, question);
    }
  }

  /** The gateway lets so many questions of a chat wait; the others wait here, in their order. */
  private isRoomFor(follow: Follow): boolean {
    const most = Math.max(1, this.around.config()?.limits.queuedMessages ?? 1);
    const open = [...this.requests.values()].filter((other) => other.conversation === follow.conversation);
    return open.length < most;
  }

  private openNext(conversation: string): void {
    const next = [...this.follows.values()]
      .filter((follow) => follow.conversation === conversation && follow.request === null && !follow.isResume)
      .sort((a, b) => a.answer.created - b.answer.created);
    for (const follow of next) if (this.isRoomFor(follow)) this.open(follow);
  }

  private ask(follow: Follow, conversation: Conversation, question: UserMessage): void {
    const config = this.around.config();
    const made = plan(conversation, question, follow.answer.id, {
      transcriptBytes: config?.limits.transcriptBytes ?? 65_536,
      system: config?.features.clientSystemPrompt ?? false,
    });
    const request = this.around.newId("r");
    if (!this.around.link().send({ ...made.frame, requestId: request })) return;
    follow.request = request;
    follow.isResume = false;
    follow.cursor = cursorAfter(undefined);
    this.requests.set(request, follow);
    this.around.setConversation(made.conversation);
    this.setDelivery(follow, question.delivery === "accepted" ? "accepted" : "sent");
  }

  private resume(follow: Follow, applied: number | undefined): void {
    const conversation = this.around.conversation(follow.conversation);
    if (!conversation) return;
    const request = this.around.newId("r");
    const after = applied === undefined ? {} : { lastSequence: applied };
    if (!this.around.link().send({ type: "resume", requestId: request, id: wireId(conversation), ...after }))
      return;
    follow.request = request;
    follow.isResume = true;
    follow.cursor = cursorAfter(applied);
    this.requests.set(request, follow);
  }

  private stopLate(chat: string, applied: number | undefined): void {
    const request = this.around.newId("r");
    const after = applied === undefined ? {} : { lastSequence: applied };
    this.around.link().send({ type: "resume", requestId: request, id: chat, ...after });
    this.around.link().send({ type: "abort", requestId: request });
  }

  private refused(follow: Follow, fault: Fault): void {
    this.release(follow);
    const again = (action: () => void) => {
      follow.tries += 1;
      if (follow.tries > TRIES_MAX) this.fail(follow, fault);
      else this.later(fault.retryAfterMs ?? 1_000, () => this.follows.has(follow.answer.id) && action());
    };
    // The socket is about to close: with the next one it goes on.
    if (fault.code === "draining") return;
    if (fault.code === "taken_over") {
      this.finish(follow, { ...follow.answer, takenOver: true });
    } else if (
      fault.code === "too_often" ||
      fault.code === "too_many_requests" ||
      fault.code === "unavailable"
    ) {
      again(() => this.open(follow));
    } else if (follow.isResume && fault.code === "bad_resume") {
      again(() => this.resume(follow, undefined));
    } else if (follow.isResume) {
      void this.recall(follow);
    } else {
      this.fail(follow, fault);
    }
  }

  private fail(follow: Follow, fault: Fault): void {
    if (NOT_TAKEN.has(fault.code)) this.setDelivery(follow, "refused");
    const { queuePosition: _, retrying: __, ...answer } = follow.answer;
    this.finish(follow, { ...answer, outcome: "failed", fault });
    this.around.failed(follow.conversation, answer.parent, fault.code);
  }

  /** There is no answer to follow: what the gateway remembers says how it ended. */
  private async recall(follow: Follow): Promise<void> {
    const conversation = this.around.conversation(follow.conversation);
    if (!conversation) return;
    const { serverId } = follow.answer;
    let remembered: Remembered | null;
    try {
      remembered = await this.around.transcript(wireId(conversation));
    } catch {
      follow.tries += 1;
      if (follow.tries <= TRIES_MAX) {
        this.later(1_000 * follow.tries, () => this.follows.has(follow.answer.id) && this.open(follow));
        return;
      }
      remembered = null;
    }
    if (!this.follows.has(follow.answer.id) || follow.request !== null) return;
    const found = serverId === undefined ? undefined : remembered?.answers.get(serverId);
    if (found?.isWriting && follow.tries < TRIES_MAX) {
      follow.tries += 1;
      this.later(200, () => this.follows.has(follow.answer.id) && this.resume(follow, undefined));
    } else if (found) {
      const { queuePosition: _, retrying: __, ...answer } = follow.answer;
      const text = found.text.length >= answer.text.length ? found.text : answer.text;
      if (!found.incomplete) this.finish(follow, { ...answer, text, outcome: "done" });
      else this.finish(follow, { ...answer, text, outcome: "failed", fault: INTERRUPTED });
    } else if (follow.isForeign) {
      // The other tab knows more; its news will come.
      this.forget(follow);
    } else if (isRunning(follow.answer)) {
      this.fail(follow, INTERRUPTED);
    }
  }
}
