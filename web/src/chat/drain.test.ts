/** Gateways are replaced while answers run: each answer is whole, each question is put once, and none waits for another chat. */
import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Chunk, ClientFrame, ServerFrame } from "../protocol/frames";
import { FakeNet, type FakeWire } from "../testing/fake-wires";
import { ModelGateway } from "../testing/model-gateway";
import { AnswerTracker } from "./answer-tracker";
import type { Conversation } from "./model";
import { last, replaced } from "./tree";
import { emptyConversation, regenerate, submit } from "./turns";

/** The frame in wire format; see docs/PROTOCOL.md. */
function toWire(frame: ServerFrame): object {
  if (frame.type === "error") {
    const { code, text: errorText, retryable } = frame.fault;
    return { type: "error", requestId: frame.requestId, code, errorText, retryable };
  }
  if (frame.type !== "chunk") return frame;
  const wireChunk = (chunk: Chunk): object => {
    if (chunk.type === "delta") return { type: "text-delta", id: chunk.id, delta: chunk.text };
    if (chunk.type === "part-start") return { type: "text-start", id: chunk.id };
    if (chunk.type === "part-end") return { type: "text-end", id: chunk.id };
    return chunk.type === "finish" ? { type: "finish", finishReason: chunk.reason } : chunk;
  };
  return { ...frame, chunk: wireChunk(frame.chunk) };
}

/** A page with three conversations before a proxy that knows which gateway takes new sockets, if any. */
class World {
  readonly conversations = new Map<string, Conversation>();
  readonly gateways: ModelGateway[] = [];
  private readonly homes = new Map<FakeWire, { gateway: ModelGateway; read: number }>();
  private serving: ModelGateway | undefined;
  private ids = 0;
  private readonly tracker = new AnswerTracker({
    link: () => this.net.link,
    config: () => null,
    conversation: (id) => this.conversations.get(id),
    setConversation: (conversation) => void this.conversations.set(conversation.id, conversation),
    written: (id, answer) => void this.conversations.set(id, replaced(this.at(id), answer)),
    asked: () => undefined,
    settled: (id, answer) => void this.conversations.set(id, replaced(this.at(id), answer)),
    failed: () => undefined,
    renewOffer: () => undefined,
    transcript: async () => null,
    now: () => Date.now(),
    newId: (prefix) => this.newId(prefix),
  });
  readonly net: FakeNet = new FakeNet(0.5, {
    state: (state) => state.kind === "live" && this.tracker.live(),
    frame: (frame) => this.tracker.frame(frame),
    lost: (requests) => this.tracker.lost(requests),
  });

  constructor() {
    for (const id of ["c-1", "c-2", "c-3"]) this.conversations.set(id, emptyConversation(id, 0));
    this.net.dialled = (wire) => {
      if (!this.serving) throw new Error("connected to a stopped gateway");
      wire.isAwake = true;
      this.homes.set(wire, { gateway: this.serving, read: 0 });
    };
    this.serve();
  }

  at = (id: string): Conversation => this.conversations.get(id) as Conversation;
  private newId = (prefix: string): string => `${prefix}-${++this.ids}`;

  /** A new gateway takes the sockets; `alone`: the old one drains, and there is no other gateway yet. */
  drain(isAlone: boolean): void {
    for (const gateway of this.gateways) gateway.isDraining = true;
    this.serving = undefined;
    this.net.notNowMs = 5_000;
    if (!isAlone) this.serve();
  }

  serve(): void {
    if (this.serving) return;
    this.serving = new ModelGateway((question) => [`«${question}» `, "潮 ", "🌊", "\n", "end"]);
    this.gateways.push(this.serving);
    this.net.notNowMs = undefined;
  }

  ask(id: string, isAgain: boolean): void {
    const conversation = this.at(id);
    const answer = last(conversation);
    const isDone = answer?.role === "assistant" && answer.outcome === "done";
    const asked =
      isAgain && isDone
        ? regenerate(conversation, answer.id, Date.now(), this.newId)
        : submit(conversation, `question ${this.ids}`, Date.now(), this.newId);
    if (!asked) return;
    this.conversations.set(id, asked.conversation);
    this.tracker.begin(id, asked.answer);
  }

  /** Frames go up, models write, frames come down. */
  async flow(ticks: number): Promise<void> {
    await this.net.pass(10);
    for (const [wire, home] of this.homes) {
      if (wire.isClosed) continue;
      if (this.net.link.state.kind === "connecting" && wire.onopen) wire.onopen();
      for (const frame of wire.sent.slice(home.read) as ClientFrame[]) home.gateway.take(frame);
      home.read = wire.sent.length;
      for (let tick = 0; tick < ticks; tick += 1) {
        home.gateway.tick();
        const frame = home.gateway.next(tick, 1 + (tick % 3));
        if (frame && !wire.isClosed) wire.say(toWire(frame));
      }
    }
  }

  get isDone(): boolean {
    return [...this.conversations.keys()].every((id) => this.tracker.ofConversation(id).length === 0);
  }
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("flow"), pick: fc.nat(4) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("ask"), pick: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("again"), pick: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("drain", "alone", "serve"), pick: fc.nat(2) }) },
);

test("gateways come and go: every answer is whole, and every question was put once", {
  timeout: 60_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 40, size: "max" }), async (steps) => {
      const world = new World();
      await world.flow(0);
      for (const { kind, pick } of steps) {
        if (kind === "flow") await world.flow(pick);
        else if (kind === "serve") world.serve();
        else if (kind === "ask" || kind === "again") world.ask(`c-${pick + 1}`, kind === "again");
        else world.drain(kind === "alone");
      }
      world.serve();
      for (let round = 0; round < 600 && !world.isDone; round += 1) {
        await world.flow(4);
        if (round % 10 === 9) await world.net.pass(1_000);
      }
      const put = new Map<string, number>();
      for (const gateway of world.gateways)
        for (const { user } of gateway.asked) put.set(user, (put.get(user) ?? 0) + 1);
      for (const conversation of world.conversations.values()) {
        const answers = Object.values(conversation.messages).filter(({ role }) => role === "assistant");
        for (const answer of answers) {
          expect(answer).toMatchObject({ outcome: "done", text: expect.stringMatching(/«.*» 潮 🌊\nend/) });
        }
        for (const [user, count] of put) {
          const own = answers.filter(({ parent }) => parent === user).length;
          if (conversation.messages[user]) expect(count).toBe(own);
        }
      }
      expect(world.net.leaving.length % 2).toBe(0);
      world.net.link.close();
      vi.clearAllTimers();
    }),
    { numRuns: Number(process.env.RUNS ?? 1_000) },
  );
});
