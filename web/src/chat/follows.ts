/** Every answer that is not finished: asks for it, follows it, and finds it again after a loss. */
import type { Link } from "../connection/link";
import type { Fault, ServerFrame } from "../protocol/frames";
import type { PageConfig } from "./contract";
import { type AssistantMessage, type Conversation, type UserMessage, wireId } from "./model";
import type { Remembered } from "./page-config";
import { isReplacement, plan } from "./plan";
import { type Cursor, cursorAfter, isRunning, reduce } from "./reduce";
import { answerOf, before, userOf } from "./tree";

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
/** Taken out of the gateway's memory, whatever was shown. */
const WITHDRAWN = new Set(["input_refused", "output_refused"]);
const INTERRUPTED: Fault = { code: "interrupted", text: "", retryable: true };

interface Follow {
  conversation: string;
  answer: AssistantMessage;
  /** The request that is open for it; none while there is no socket. */
  request: string | null;
  isResume: boolean;
  /** It finds out whether the question arrived: the answer may be an older one. */
  isProbe: boolean;
  cursor: Cursor;
  /** Asked by another tab: it is followed, and never asked again from here. */
  isForeign: boolean;
  tries: number;
  /** It tries again by itself after a while. */
  isResting: boolean;
}

/** An answer that some other message of the conversation has already; also one without a name. */
const isKnown = (conversation: Conversation, serverId: string | undefined): boolean =>
  serverId === undefined ||
  Object.values(conversation.messages).some(
    (message) => message.role === "assistant" && message.serverId === serverId,
  );

/** What the follows need of the rest. */
export interface Surroundings {
  link(): Link;
  config(): PageConfig | null;
  conversation(id: string): Conversation | undefined;
  setConversation(conversation: Conversation): void;
  /** The answer has news; gathered, and shown with the next frame. */
  written(conversation: string, answer: AssistantMessage, isForeign: boolean): void;
  /** Something was put to the gateway: to be stored soon, so that it is not put twice. */
  asked(conversation: string): void;
  /** The answer is finished, or is no longer followed. */
  settled(conversation: string, answer: AssistantMessage): void;
  /** A message was not taken, or nothing came of it. */
  failed(conversation: string, answer: AssistantMessage): void;
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
      isProbe: false,
      cursor: cursorAfter(answer.applied),
      isForeign,
      tries: 0,
      isResting: false,
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
      this.stops.set(this.chat(follow, conversation), follow.answer.applied);
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
    if (!follow || this.probed(follow, frame)) return;
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
        if (WITHDRAWN.has(step.answer.fault?.code ?? ""))
          this.around.failed(follow.conversation, step.answer);
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
    // What waited behind it may go.
    if (this.around.link().state.kind !== "live") return;
    for (const next of [...this.follows.values()]) {
      if (next.conversation === follow.conversation && next.request === null && !next.isResting)
        this.open(next);
    }
  }

  private chat(follow: Follow, conversation: Conversation): string {
    return follow.answer.asked?.chat ?? wireId(conversation);
  }

  private news(follow: Follow, answer: AssistantMessage): void {
    follow.answer = answer;
    this.around.written(follow.conversation, answer, follow.isForeign);
  }

  /** How many answers on the way to the question are still to come: one is asked for after the other. */
  private ahead(conversation: Conversation, question: UserMessage): number {
    return before(conversation, question).filter(({ id }) => this.follows.has(id)).length;
  }

  /** True: the frame said that the question never arrived, and it was asked again. */
  private probed(follow: Follow, frame: ServerFrame): boolean {
    if (!follow.isProbe || frame.type !== "start") return false;
    follow.isProbe = false;
    const conversation = this.around.conversation(follow.conversation);
    if (!conversation || !isKnown(conversation, frame.messageId)) return false;
    this.release(follow);
    this.askAgain(follow);
    return true;
  }

  private askAgain(follow: Follow): void {
    const conversation = this.around.conversation(follow.conversation);
    const question = conversation && userOf(conversation, follow.answer.parent);
    if (conversation && question) this.ask(follow, conversation, question);
  }

  private later(ms: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      action();
    }, ms);
    this.timers.add(timer);
  }

  /** Tries again after a while, unless somebody did meanwhile, or nobody wants it any more. */
  private rest(follow: Follow, ms: number, action: () => void): void {
    follow.isResting = true;
    this.later(ms, () => {
      follow.isResting = false;
      if (this.follows.get(follow.answer.id) === follow && follow.request === null) action();
    });
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
    } else {
      this.askInTurn(follow, conversation, question);
    }
  }

  private askInTurn(follow: Follow, conversation: Conversation, question: UserMessage): void {
    const queuePosition = this.ahead(conversation, question);
    if (queuePosition > 0) {
      if (queuePosition !== follow.answer.queuePosition)
        this.news(follow, { ...follow.answer, queuePosition });
    } else if (isReplacement(follow.answer.asked)) {
      follow.isProbe = true;
      this.resume(follow, undefined);
    } else {
      this.ask(follow, conversation, question);
    }
  }

  private ask(follow: Follow, conversation: Conversation, question: UserMessage): void {
    const config = this.around.config();
    const made = plan(conversation, question, follow.answer, {
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
    const { queuePosition: _, ...answer } = follow.answer;
    this.news(follow, { ...answer, asked: made.asked });
    this.setDelivery(follow, question.delivery === "accepted" ? "accepted" : "sent");
    this.around.asked(follow.conversation);
  }

  private resume(follow: Follow, applied: number | undefined): void {
    const conversation = this.around.conversation(follow.conversation);
    if (!conversation) return;
    const request = this.around.newId("r");
    const after = applied === undefined ? {} : { lastSequence: applied };
    if (
      !this.around
        .link()
        .send({ type: "resume", requestId: request, id: this.chat(follow, conversation), ...after })
    )
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
      else this.rest(follow, fault.retryAfterMs ?? 1_000, action);
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
    this.around.failed(follow.conversation, answer);
  }

  /** There is no answer to follow: what the gateway remembers says how it ended. */
  private async recall(follow: Follow): Promise<void> {
    const conversation = this.around.conversation(follow.conversation);
    if (!conversation) return;
    const { isProbe } = follow;
    follow.isProbe = false;
    let remembered: Remembered | null;
    try {
      remembered = await this.around.transcript(this.chat(follow, conversation));
    } catch {
      follow.tries += 1;
      if (follow.tries <= TRIES_MAX) {
        this.rest(follow, 1_000 * follow.tries, () => this.open(follow));
        return;
      }
      remembered = null;
    }
    if (!this.follows.has(follow.answer.id) || follow.request !== null) return;
    const unknown = () =>
      [...(remembered?.answers.keys() ?? [])].findLast((id) => !isKnown(conversation, id));
    const serverId = isProbe ? unknown() : follow.answer.serverId;
    if (isProbe && serverId === undefined) {
      this.askAgain(follow);
      return;
    }
    const found = serverId === undefined ? undefined : remembered?.answers.get(serverId);
    if (found?.isWriting && follow.tries < TRIES_MAX) {
      follow.tries += 1;
      this.rest(follow, 200, () => this.resume(follow, undefined));
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
