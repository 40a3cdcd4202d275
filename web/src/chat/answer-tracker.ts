/** Tracks every unfinished answer: requests it, follows it, and recovers it after a loss. */
import type { Fault, ServerFrame } from "../protocol/frames";
import { bodyOf } from "./choice";
import {
  type AssistantMessage,
  type Conversation,
  isContinuation,
  isRunning,
  type UserMessage,
  wireId,
} from "./model";
import type { Remembered } from "./page-config";
import { isReplacement, plan } from "./plan";
import { informed, reduce } from "./reduce";
import { Requests, type TurnRef } from "./requests";
import { RetryTimers } from "./retry-timers";
import {
  afterRecall,
  afterRefusal,
  isKnown,
  isNotTaken,
  isOfOffer,
  isWithdrawn,
  newTrackedAnswer,
  TRIES_MAX,
  type TrackedAnswer,
  type TrackerHost,
} from "./tracked-answer";
import { answerOf, before, replaced, userOf } from "./tree";

/** A message that waited longer for a socket becomes `stale`: the user has to send it again. */
const STALE_MS = 3_600_000;
/** Limit of open requests if the gateway does not report one; one is reserved for a late stop. */
const REQUESTS_MAX = 64;
const SPARE = 1;
/** Retry delay for a question rejected by a draining gateway while another socket is open. */
const NEXT_SOCKET_MS = 500;
const INTERRUPTED: Fault = { code: "interrupted", text: "", retryable: true };

export class AnswerTracker {
  private readonly tracked = new Map<string, TrackedAnswer>();
  private readonly requests: Requests;
  /** Stops that could not be sent without a socket, by answer. */
  private readonly stops = new Map<string, { turn: TurnRef; applied: number | undefined }>();
  private readonly retryTimers = new RetryTimers();
  /** Requests whose answer was stopped here; its usage is still to come. */
  private readonly stopped = new Map<string, { conversation: string; answer: string }>();

  constructor(private readonly host: TrackerHost) {
    this.requests = new Requests(host);
  }

  has(answer: string): boolean {
    return this.tracked.has(answer);
  }

  /** The latest state of a tracked answer. */
  answer(id: string): AssistantMessage | undefined {
    return this.tracked.get(id)?.answer;
  }

  ofConversation(id: string): AssistantMessage[] {
    return [...this.tracked.values()]
      .filter((tracked) => tracked.conversation === id)
      .map(({ answer }) => answer);
  }

  /** Tracks an answer until it is finished. */
  begin(conversation: string, answer: AssistantMessage, isForeign = false): void {
    if (this.tracked.has(answer.id)) return;
    const tracked = newTrackedAnswer(conversation, answer, isForeign);
    this.tracked.set(answer.id, tracked);
    if (this.isLive()) this.open(tracked);
  }

  /** Goes on with an answer that broke off. */
  goOn(conversation: string, answer: AssistantMessage): void {
    if (this.tracked.has(answer.id)) return;
    const tracked = newTrackedAnswer(conversation, answer, false);
    this.tracked.set(answer.id, tracked);
    // Without a socket it is first found out whether it has gone on.
    if (this.isLive() && !this.isFull()) this.askAgain(tracked);
  }

  /** The socket is (again) open. */
  live(): void {
    for (const { turn, applied } of this.stops.values()) this.requests.stopLate(turn, applied);
    this.stops.clear();
    const all = [...this.tracked.values()].sort((a, b) => a.answer.created - b.answer.created);
    for (const tracked of all) this.open(tracked);
  }

  /** These requests were lost with their socket; if another one is open, they continue on it. */
  lost(requests: readonly string[]): void {
    for (const request of requests) this.stopped.delete(request);
    for (const tracked of this.requests.lost(requests)) {
      if (this.isLive()) this.open(tracked);
    }
  }

  stop(id: string): void {
    const tracked = this.tracked.get(id);
    const conversation = tracked && this.host.conversation(tracked.conversation);
    if (!tracked || !conversation) return;
    const question = userOf(conversation, tracked.answer.parent);
    if (tracked.request !== null) {
      this.stopped.set(tracked.request, { conversation: tracked.conversation, answer: id });
      this.requests.abort(tracked);
    } else if (question?.delivery === "sent" || question?.delivery === "accepted") {
      const turn = this.turn({ ...tracked, isProbe: false }, conversation);
      this.stops.set(id, { turn, applied: tracked.answer.applied });
    }
    const { queuePosition: _, retrying: __, ...answer } = tracked.answer;
    this.finish(tracked, { ...answer, outcome: "stopped" });
  }

  /** Stops tracking a removed conversation, without notifying the host. */
  drop(conversation: string): void {
    for (const tracked of [...this.tracked.values()]) {
      if (tracked.conversation !== conversation) continue;
      this.requests.abort(tracked);
      this.forget(tracked);
    }
  }

  close(): void {
    this.retryTimers.close();
  }

  frame(frame: ServerFrame): void {
    if (frame.type === "unknown") return;
    const tracked = this.requests.of(frame.requestId);
    if (!tracked) this.epilogue(frame);
    if (!tracked || this.probed(tracked, frame)) return;
    if (frame.type === "chunk" || frame.type === "start") this.accepted(tracked);
    const step = reduce(tracked.answer, tracked.cursor, frame, this.host.now());
    tracked.cursor = step.cursor;
    if (step.answer !== tracked.answer) {
      tracked.answer = step.answer;
      this.host.written(tracked.conversation, step.answer, tracked.isForeign);
    }
    switch (step.verdict) {
      case "go-on":
        break;
      case "over":
        this.finish(tracked, step.answer);
        if (isWithdrawn(step.answer.fault) && !isContinuation(step.answer))
          this.host.failed(tracked.conversation, step.answer);
        break;
      case "hole":
        this.requests.release(tracked);
        this.resume(tracked, tracked.answer.applied);
        break;
      case "another":
      case "no-active":
        this.requests.release(tracked);
        void this.recall(tracked);
        break;
      case "refused":
        if (frame.type === "error") this.refused(tracked, frame.fault);
        break;
    }
  }

  private isLive(): boolean {
    return this.host.link().state.kind === "live";
  }

  /** Frames of an answer that was stopped here: only its metadata is applied. */
  private epilogue(frame: Exclude<ServerFrame, { type: "unknown" }>): void {
    const of = this.stopped.get(frame.requestId);
    if (!of) return;
    if (frame.type !== "chunk") {
      if (frame.type !== "start") this.stopped.delete(frame.requestId);
      return;
    }
    const conversation = this.host.conversation(of.conversation);
    const answer = conversation && answerOf(conversation, of.answer);
    if (frame.chunk.type === "metadata" && conversation && answer?.outcome === "stopped")
      this.host.setConversation(replaced(conversation, informed(answer, frame.chunk.metadata)));
  }

  private forget(tracked: TrackedAnswer): void {
    this.requests.release(tracked);
    this.tracked.delete(tracked.answer.id);
  }

  private finish(tracked: TrackedAnswer, answer: AssistantMessage): void {
    this.forget(tracked);
    this.host.settled(tracked.conversation, answer);
    // Answers that waited behind it, or for a free request, can start now.
    if (!this.isLive()) return;
    for (const next of [...this.tracked.values()]) {
      if (next.request === null && !next.isRetryScheduled) this.open(next);
    }
  }

  private isFull(): boolean {
    const most = this.host.config()?.limits.requests ?? REQUESTS_MAX;
    return this.requests.count >= Math.max(1, most - SPARE);
  }

  private chat(tracked: TrackedAnswer, conversation: Conversation): string {
    return tracked.answer.asked?.chat ?? wireId(conversation);
  }

  /** Names the turn to follow or stop. A probe finds out which turn is the newest, so it names none. */
  private turn(tracked: TrackedAnswer, conversation: Conversation): TurnRef {
    const chat = this.chat(tracked, conversation);
    if (tracked.isProbe && !isContinuation(tracked.answer)) return { chat };
    const { serverId, parent, run } = tracked.answer;
    return { chat, messageId: serverId ?? parent, ...(run === undefined ? {} : { run }) };
  }

  private news(tracked: TrackedAnswer, answer: AssistantMessage): void {
    tracked.answer = answer;
    this.host.written(tracked.conversation, answer, tracked.isForeign);
  }

  /** Number of unfinished answers above the question: they are requested one after another. */
  private ahead(conversation: Conversation, question: UserMessage): number {
    return before(conversation, question).filter(({ id }) => this.tracked.has(id)).length;
  }

  /** Whether the frame showed that the question never arrived; it is then sent again. */
  private probed(tracked: TrackedAnswer, frame: ServerFrame): boolean {
    if (!tracked.isProbe || frame.type !== "start") return false;
    tracked.isProbe = false;
    const conversation = this.host.conversation(tracked.conversation);
    // A continued answer keeps its id; its run is another one.
    const isOld = isContinuation(tracked.answer)
      ? frame.run === tracked.answer.run
      : conversation && isKnown(conversation, frame.messageId);
    if (!isOld) return false;
    this.requests.release(tracked);
    this.askAgain(tracked);
    return true;
  }

  private askAgain(tracked: TrackedAnswer): void {
    const conversation = this.host.conversation(tracked.conversation);
    const question = conversation && userOf(conversation, tracked.answer.parent);
    if (conversation && question) this.ask(tracked, conversation, question);
  }

  /** Schedules a retry, unless the answer has a request or is no longer tracked by then. */
  private retryLater(tracked: TrackedAnswer, ms: number, action: () => void): void {
    tracked.isRetryScheduled = true;
    this.retryTimers.later(ms, () => {
      tracked.isRetryScheduled = false;
      if (this.tracked.get(tracked.answer.id) === tracked && tracked.request === null) action();
    });
  }

  private setDelivery(tracked: TrackedAnswer, delivery: UserMessage["delivery"]): void {
    const conversation = this.host.conversation(tracked.conversation);
    const question = conversation && userOf(conversation, tracked.answer.parent);
    if (!question || question.delivery === delivery) return;
    const { fault: _, ...rest } = question;
    const messages = { ...conversation.messages, [question.id]: { ...rest, delivery } };
    this.host.setConversation({ ...conversation, messages });
  }

  /** Marks the question as queued again, so that it can be taken back. */
  private notTaken(tracked: TrackedAnswer): void {
    const conversation = this.host.conversation(tracked.conversation);
    const question = conversation && userOf(conversation, tracked.answer.parent);
    if (question?.delivery === "sent") this.setDelivery(tracked, "queued");
  }

  private accepted(tracked: TrackedAnswer): void {
    tracked.tries = 0;
    this.setDelivery(tracked, "accepted");
  }

  /** Sends, sends again under the same id, or resumes, depending on what is known to have arrived. */
  private open(tracked: TrackedAnswer): void {
    if (tracked.request !== null || this.isFull()) return;
    const conversation = this.host.conversation(tracked.conversation);
    const question = conversation && userOf(conversation, tracked.answer.parent);
    if (!question || !answerOf(conversation, tracked.answer.id)) {
      this.forget(tracked);
    } else if (
      tracked.isForeign ||
      (question.delivery === "accepted" && tracked.answer.applied !== undefined)
    ) {
      this.resume(tracked, tracked.answer.applied);
    } else if (question.delivery !== "accepted" && this.host.now() - question.created > STALE_MS) {
      this.setDelivery(tracked, "stale");
      this.forget(tracked);
    } else {
      this.askInTurn(tracked, conversation, question);
    }
  }

  private askInTurn(tracked: TrackedAnswer, conversation: Conversation, question: UserMessage): void {
    const queuePosition = this.ahead(conversation, question);
    if (queuePosition > 0) {
      if (queuePosition !== tracked.answer.queuePosition)
        this.news(tracked, { ...tracked.answer, queuePosition });
    } else if (isReplacement(tracked.answer.asked)) {
      tracked.isProbe = true;
      this.resume(tracked, undefined);
    } else {
      this.ask(tracked, conversation, question);
    }
  }

  private ask(tracked: TrackedAnswer, conversation: Conversation, question: UserMessage): void {
    const config = this.host.config();
    const limits = {
      transcriptBytes: config?.limits.transcriptBytes ?? 65_536,
      system: config?.features.clientSystemPrompt ?? false,
    };
    const body = bodyOf(conversation.choice, config);
    const made = plan(conversation, question, tracked.answer, limits, body);
    if (!this.requests.ask(tracked, made.frame)) return;
    this.host.setConversation(made.conversation);
    const { queuePosition: _, ...answer } = tracked.answer;
    this.news(tracked, { ...answer, asked: made.asked });
    this.setDelivery(tracked, question.delivery === "accepted" ? "accepted" : "sent");
    this.host.asked(tracked.conversation);
  }

  private resume(tracked: TrackedAnswer, applied: number | undefined): void {
    const conversation = this.host.conversation(tracked.conversation);
    if (conversation) this.requests.resume(tracked, this.turn(tracked, conversation), applied);
  }

  private refused(tracked: TrackedAnswer, fault: Fault): void {
    this.requests.release(tracked);
    const again = (action: () => void) => {
      tracked.tries += 1;
      if (tracked.tries > TRIES_MAX) this.fail(tracked, fault);
      else this.retryLater(tracked, fault.retryAfterMs ?? 1_000, action);
    };
    if (isContinuation(tracked.answer) && !tracked.isResume && isOfOffer(fault)) {
      // The answer may have ended by itself before it was stopped: shown as the gateway has it.
      this.host.renewOffer();
      this.resume(tracked, undefined);
      return;
    }
    switch (afterRefusal(fault, tracked.isResume)) {
      case "next-socket":
        this.notTaken(tracked);
        // The rejection arrived after the next socket was open, or no further socket is allowed until one of them ends.
        if (this.isLive()) this.retryLater(tracked, NEXT_SOCKET_MS, () => this.open(tracked));
        break;
      case "taken-over":
        this.finish(tracked, { ...tracked.answer, takenOver: true });
        break;
      case "open-again":
        again(() => this.open(tracked));
        break;
      case "resume-anew":
        again(() => this.resume(tracked, undefined));
        break;
      case "recall":
        void this.recall(tracked);
        break;
      case "fail":
        this.fail(tracked, fault);
        break;
    }
  }

  private fail(tracked: TrackedAnswer, fault: Fault): void {
    if (isOfOffer(fault)) this.host.renewOffer();
    const { queuePosition: _, retrying: __, ...answer } = tracked.answer;
    if (isContinuation(answer) && fault !== INTERRUPTED) {
      // The gateway has the answer as it was.
      this.finish(tracked, { ...answer, outcome: "failed", fault });
      return;
    }
    if (isNotTaken(fault)) this.setDelivery(tracked, "refused");
    this.finish(tracked, { ...answer, outcome: "failed", fault });
    this.host.failed(tracked.conversation, answer);
  }

  /** There is no answer to follow: the gateway's transcript tells how it ended. */
  private async recall(tracked: TrackedAnswer): Promise<void> {
    const conversation = this.host.conversation(tracked.conversation);
    if (!conversation) return;
    const { isProbe } = tracked;
    tracked.isProbe = false;
    let remembered: Remembered | null;
    try {
      remembered = await this.host.transcript(this.chat(tracked, conversation));
    } catch {
      tracked.tries += 1;
      if (tracked.tries <= TRIES_MAX) {
        this.retryLater(tracked, 1_000 * tracked.tries, () => this.open(tracked));
        return;
      }
      remembered = null;
    }
    if (!this.tracked.has(tracked.answer.id) || tracked.request !== null) return;
    const after = afterRecall(tracked, isProbe, conversation, remembered);
    const { queuePosition: _, retrying: __, ...answer } = tracked.answer;
    switch (after.kind) {
      case "ask-again":
        this.askAgain(tracked);
        break;
      case "resume-anew":
        tracked.tries += 1;
        this.retryLater(tracked, 200, () => this.resume(tracked, undefined));
        break;
      case "done":
        this.finish(tracked, { ...answer, text: after.text, outcome: "done" });
        break;
      case "interrupted":
        this.finish(tracked, { ...answer, text: after.text, outcome: "failed", fault: INTERRUPTED });
        break;
      case "unknown":
        // If another tab asked, that tab knows more and will post an update.
        if (tracked.isForeign) this.forget(tracked);
        else if (isRunning(tracked.answer)) this.fail(tracked, INTERRUPTED);
        break;
    }
  }
}
