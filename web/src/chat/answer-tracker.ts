/** Every answer that is not finished: asks for it, follows it, and finds it again after a loss. */
import type { Fault, ServerFrame } from "../protocol/frames";
import {
  afterRecall,
  afterRefusal,
  type Follow,
  isKnown,
  isNotTaken,
  isWithdrawn,
  newFollow,
  type Surroundings,
  TRIES_MAX,
} from "./follow";
import { type AssistantMessage, type Conversation, isRunning, type UserMessage, wireId } from "./model";
import type { Remembered } from "./page-config";
import { isReplacement, plan } from "./plan";
import { informed, reduce } from "./reduce";
import { Requests } from "./requests";
import { Rests } from "./rests";
import { answerOf, before, replaced, userOf } from "./tree";

/** A message that waited longer for a socket is not sent without asking. */
const STALE_MS = 3_600_000;
/** Requests that may be open where the gateway has not said how many; one is kept free for a stop that comes late. */
const REQUESTS_MAX = 64;
const SPARE = 1;
/** A question that a draining gateway refused while another socket is there. */
const NEXT_SOCKET_MS = 500;
const INTERRUPTED: Fault = { code: "interrupted", text: "", retryable: true };

export class Follows {
  private readonly follows = new Map<string, Follow>();
  private readonly requests: Requests;
  /** Stops that could not be told for want of a socket. */
  private readonly stops = new Map<string, number | undefined>();
  private readonly rests = new Rests();
  /** Requests whose answer was stopped here: what it took is still to come. */
  private readonly stopped = new Map<string, { conversation: string; answer: string }>();

  constructor(private readonly around: Surroundings) {
    this.requests = new Requests(around);
  }

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
    const follow = newFollow(conversation, answer, isForeign);
    this.follows.set(answer.id, follow);
    if (this.isLive()) this.open(follow);
  }

  /** The socket is there (again). */
  live(): void {
    for (const [chat, applied] of this.stops) this.requests.stopLate(chat, applied);
    this.stops.clear();
    const all = [...this.follows.values()].sort((a, b) => a.answer.created - b.answer.created);
    for (const follow of all) this.open(follow);
  }

  /** These requests went with their socket; where another one is there already, they go on on that. */
  lost(requests: readonly string[]): void {
    for (const request of requests) this.stopped.delete(request);
    for (const follow of this.requests.lost(requests)) {
      if (this.isLive()) this.open(follow);
    }
  }

  stop(id: string): void {
    const follow = this.follows.get(id);
    const conversation = follow && this.around.conversation(follow.conversation);
    if (!follow || !conversation) return;
    const question = userOf(conversation, follow.answer.parent);
    if (follow.request !== null) {
      this.stopped.set(follow.request, { conversation: follow.conversation, answer: id });
      this.requests.abort(follow);
    } else if (question?.delivery === "sent" || question?.delivery === "accepted") {
      this.stops.set(this.chat(follow, conversation), follow.answer.applied);
    }
    const { queuePosition: _, retrying: __, ...answer } = follow.answer;
    this.finish(follow, { ...answer, outcome: "stopped" });
  }

  /** Without a word to anybody: what is removed is not followed. */
  drop(conversation: string): void {
    for (const follow of [...this.follows.values()]) {
      if (follow.conversation !== conversation) continue;
      this.requests.abort(follow);
      this.forget(follow);
    }
  }

  close(): void {
    this.rests.close();
  }

  frame(frame: ServerFrame): void {
    if (frame.type === "unknown") return;
    const follow = this.requests.of(frame.requestId);
    if (!follow) this.epilogue(frame);
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
        if (isWithdrawn(step.answer.fault)) this.around.failed(follow.conversation, step.answer);
        break;
      case "hole":
        this.requests.release(follow);
        this.resume(follow, follow.answer.applied);
        break;
      case "another":
      case "no-active":
        this.requests.release(follow);
        void this.recall(follow);
        break;
      case "refused":
        if (frame.type === "error") this.refused(follow, frame.fault);
        break;
    }
  }

  private isLive(): boolean {
    return this.around.link().state.kind === "live";
  }

  /** What comes for an answer that was stopped here: of that, only what it took is news. */
  private epilogue(frame: Exclude<ServerFrame, { type: "unknown" }>): void {
    const of = this.stopped.get(frame.requestId);
    if (!of) return;
    if (frame.type !== "chunk") {
      if (frame.type !== "start") this.stopped.delete(frame.requestId);
      return;
    }
    const conversation = this.around.conversation(of.conversation);
    const answer = conversation && answerOf(conversation, of.answer);
    if (frame.chunk.type === "metadata" && conversation && answer?.outcome === "stopped")
      this.around.setConversation(replaced(conversation, informed(answer, frame.chunk.metadata)));
  }

  private forget(follow: Follow): void {
    this.requests.release(follow);
    this.follows.delete(follow.answer.id);
  }

  private finish(follow: Follow, answer: AssistantMessage): void {
    this.forget(follow);
    this.around.settled(follow.conversation, answer);
    // What waited behind it, or for room on the socket, may go.
    if (!this.isLive()) return;
    for (const next of [...this.follows.values()]) {
      if (next.request === null && !next.isResting) this.open(next);
    }
  }

  private isFull(): boolean {
    const most = this.around.config()?.limits.requests ?? REQUESTS_MAX;
    return this.requests.count >= Math.max(1, most - SPARE);
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
    this.requests.release(follow);
    this.askAgain(follow);
    return true;
  }

  private askAgain(follow: Follow): void {
    const conversation = this.around.conversation(follow.conversation);
    const question = conversation && userOf(conversation, follow.answer.parent);
    if (conversation && question) this.ask(follow, conversation, question);
  }

  /** Tries again after a while, unless somebody did meanwhile, or nobody wants it any more. */
  private rest(follow: Follow, ms: number, action: () => void): void {
    follow.isResting = true;
    this.rests.later(ms, () => {
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

  /** It waits for a socket again, and may be taken back. */
  private notTaken(follow: Follow): void {
    const conversation = this.around.conversation(follow.conversation);
    const question = conversation && userOf(conversation, follow.answer.parent);
    if (question?.delivery === "sent") this.setDelivery(follow, "queued");
  }

  private accepted(follow: Follow): void {
    follow.tries = 0;
    this.setDelivery(follow, "accepted");
  }

  /** Asks, or asks again under the same name, or resumes: by what is known to have arrived. */
  private open(follow: Follow): void {
    if (follow.request !== null || this.isFull()) return;
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
    if (!this.requests.ask(follow, made.frame)) return;
    this.around.setConversation(made.conversation);
    const { queuePosition: _, ...answer } = follow.answer;
    this.news(follow, { ...answer, asked: made.asked });
    this.setDelivery(follow, question.delivery === "accepted" ? "accepted" : "sent");
    this.around.asked(follow.conversation);
  }

  private resume(follow: Follow, applied: number | undefined): void {
    const conversation = this.around.conversation(follow.conversation);
    if (conversation) this.requests.resume(follow, this.chat(follow, conversation), applied);
  }

  private refused(follow: Follow, fault: Fault): void {
    this.requests.release(follow);
    const again = (action: () => void) => {
      follow.tries += 1;
      if (follow.tries > TRIES_MAX) this.fail(follow, fault);
      else this.rest(follow, fault.retryAfterMs ?? 1_000, action);
    };
    switch (afterRefusal(fault, follow.isResume)) {
      case "next-socket":
        this.notTaken(follow);
        // Refused late, when the next one is there already; or there is none to be had, and one of them has to end first.
        if (this.isLive()) this.rest(follow, NEXT_SOCKET_MS, () => this.open(follow));
        break;
      case "taken-over":
        this.finish(follow, { ...follow.answer, takenOver: true });
        break;
      case "open-again":
        again(() => this.open(follow));
        break;
      case "resume-anew":
        again(() => this.resume(follow, undefined));
        break;
      case "recall":
        void this.recall(follow);
        break;
      case "fail":
        this.fail(follow, fault);
        break;
    }
  }

  private fail(follow: Follow, fault: Fault): void {
    if (isNotTaken(fault)) this.setDelivery(follow, "refused");
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
    const after = afterRecall(follow, isProbe, conversation, remembered);
    const { queuePosition: _, retrying: __, ...answer } = follow.answer;
    switch (after.kind) {
      case "ask-again":
        this.askAgain(follow);
        break;
      case "resume-anew":
        follow.tries += 1;
        this.rest(follow, 200, () => this.resume(follow, undefined));
        break;
      case "done":
        this.finish(follow, { ...answer, text: after.text, outcome: "done" });
        break;
      case "interrupted":
        this.finish(follow, { ...answer, text: after.text, outcome: "failed", fault: INTERRUPTED });
        break;
      case "unknown":
        // Asked by another tab, that one knows more, and its news will come.
        if (follow.isForeign) this.forget(follow);
        else if (isRunning(follow.answer)) this.fail(follow, INTERRUPTED);
        break;
    }
  }
}
