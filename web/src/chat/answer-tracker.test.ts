/** Whatever happens to the socket and the tab: every answer whole, every question put once. */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { ClientFrame, ServerFrame } from "../protocol/frames";
import { memoryTails } from "../testing/memory-tails";
import { ModelGateway, type Turn, textOf } from "../testing/model-gateway";
import { AnswerTracker } from "./answer-tracker";
import { readConversation } from "./check";
import { canContinue, goneOn } from "./continuation";
import { type AssistantMessage, type Conversation, isRunning } from "./model";
import { forgetTurn } from "./plan";
import { Tails } from "./tails";
import { last, replaced, shown, userOf, withChosen } from "./tree";
import { type Asked, edit, emptyConversation, regenerate, submit } from "./turns";

const RUNS = 10_000;
const OFFER = { models: [{ id: "m", title: "m", isDefault: true, continues: true as const }] };

/** A tab with one conversation, a socket with two directions that can be cut, and what is stored. */
class Tab {
  conversation: Conversation = emptyConversation("c-1", 0);
  stored = this.conversation;
  isLive = false;
  up: ClientFrame[] = [];
  sent: string[] = [];
  clock = 1;
  readonly tailStore = memoryTails();
  tails = new Tails(this.tailStore, "t-0", async () => this.save());
  ids = 0;
  tracker = this.make();
  regenerated = 0;

  constructor(readonly gateway: ModelGateway) {}

  private make(): AnswerTracker {
    return new AnswerTracker({
      link: () => ({
        state: this.isLive ? { kind: "live" } : { kind: "offline" },
        send: (frame) => {
          if (this.isLive) this.up.push(frame);
          this.sent.push(frame.requestId);
          return this.isLive;
        },
        retry: () => undefined,
        close: () => undefined,
      }),
      config: () => null,
      conversation: () => this.conversation,
      setConversation: (conversation) => {
        this.conversation = conversation;
      },
      written: (_, answer) => {
        this.write(answer);
        this.tails.written("c-1", answer);
      },
      asked: () => this.save(),
      settled: (_, answer) => {
        this.tails.written("c-1", answer);
        this.write(answer);
      },
      failed: (_, answer) => {
        this.conversation = forgetTurn(this.conversation, answer.parent, answer.asked);
      },
      renewOffer: () => undefined,
      transcript: async (chat) => this.gateway.transcript(chat),
      now: () => this.clock,
      newId: (prefix) => this.newId(prefix),
    });
  }

  newId = (prefix: string): string => {
    this.ids += 1;
    return `${prefix}-${this.ids}`;
  };

  private write(answer: AssistantMessage): void {
    // At every moment: exactly the text up to the number that was applied.
    const turn = answer.serverId === undefined ? undefined : this.gateway.all.get(answer.serverId);
    if (turn?.run === answer.run && answer.applied !== undefined && answer.outcome === "streaming") {
      expect(answer.text).toBe(textOf(turn as Turn, answer.applied + 1));
    }
    const old = this.conversation.messages[answer.id];
    if (old?.role === "assistant" && old.applied !== undefined && answer.applied !== undefined) {
      expect(answer.applied >= old.applied || answer.applied === 0).toBe(true);
    }
    this.conversation = replaced(this.conversation, answer);
  }

  save(): void {
    this.stored = this.conversation;
    this.tails.stored(this.conversation);
  }

  begin(asked: Asked | undefined, isApart: boolean): void {
    this.clock += 1;
    if (!asked) return;
    this.conversation = asked.conversation;
    const way = new Set(shown(asked.conversation).map(({ id }) => id));
    if (isApart) {
      for (const answer of this.tracker.ofConversation("c-1"))
        if (!way.has(answer.id)) this.tracker.stop(answer.id);
    }
    this.save();
    this.tracker.begin("c-1", asked.answer);
  }

  goOn(answer: string): void {
    const begun = goneOn(this.conversation, answer, null);
    if (!begun) return;
    this.conversation = begun.conversation;
    this.save();
    this.tracker.goOn("c-1", begun.answer);
  }

  cut(): void {
    this.isLive = false;
    this.up = [];
    this.gateway.cut();
    this.tracker.lost(this.sent.splice(0));
  }

  connect(): void {
    if (this.isLive) return;
    this.isLive = true;
    this.tracker.live();
  }

  /** `isCrash`: without the last words that a page has. */
  reload(isCrash: boolean): void {
    this.cut();
    this.tracker.close();
    if (isCrash) this.tails.close();
    else this.tails.flush();
    const shown = this.conversation;
    const stored = readConversation(JSON.parse(JSON.stringify(this.stored))) as Conversation;
    this.ids += 1;
    this.tails = new Tails(this.tailStore, `t-${this.ids}`, async () => this.save());
    this.tails.stored(stored);
    this.conversation = this.tails.join(stored);
    for (const answer of Object.values(this.conversation.messages)) {
      if (answer.role !== "assistant" || !isRunning(answer) || answer.serverId === undefined) continue;
      const turn = this.gateway.all.get(answer.serverId);
      if (turn && turn.run === answer.run && answer.applied !== undefined)
        expect(answer.text).toBe(textOf(turn, answer.applied + 1));
      const before = shown.messages[answer.id];
      // What was on the screen is there again.
      if (!isCrash && before?.role === "assistant" && before.serverId === answer.serverId)
        expect(answer.text.startsWith(before.text)).toBe(true);
    }
    this.tracker = this.make();
    for (const message of Object.values(this.conversation.messages)) {
      if (isRunning(message)) this.tracker.begin("c-1", message);
    }
  }

  deliver(frame: ServerFrame | null): void {
    if (frame) this.tracker.frame(frame);
  }
}

const step = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant("flow"),
      pick: fc.nat(9),
      most: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("read"),
      pick: fc.nat(3),
      most: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("tick"), pick: fc.nat(4), most: fc.constant(1) }) },
  {
    weight: 9,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        "up",
        "connect",
        "cut",
        "arrive",
        "repeat",
        "drop",
        "save",
        "reload",
        "crash",
        "keep",
        "wait",
        "idle",
      ),
      pick: fc.nat(3),
      most: fc.constant(1),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("ask"), pick: fc.nat(3), most: fc.constant(1) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom("again", "edit", "choose"),
      pick: fc.nat(3),
      most: fc.constant(1),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom("on", "stop"), pick: fc.nat(3), most: fc.constant(1) }),
  },
);

async function act(
  tab: Tab,
  { kind, pick, most }: { kind: string; pick: number; most: number },
): Promise<void> {
  const { gateway } = tab;
  if (kind === "flow") {
    tab.connect();
    for (const frame of tab.up.splice(0)) gateway.take(frame);
    for (let n = 0; n <= pick; n += 1) {
      gateway.tick();
      tab.deliver(gateway.next(0, most));
    }
  } else if (kind === "read") tab.deliver(gateway.next(pick, most));
  else if (kind === "tick") for (let n = 0; n <= pick; n += 1) gateway.tick();
  else if (kind === "up") for (const frame of tab.up.splice(0, pick + 1)) gateway.take(frame);
  else if (kind === "connect") tab.connect();
  else if (kind === "cut") tab.cut();
  else if (kind === "arrive") {
    // The last words still arrive, and nothing comes back.
    for (const frame of tab.up.splice(0)) gateway.take(frame);
    tab.cut();
  } else if (kind === "repeat") {
    const frame = gateway.next(pick, 1);
    tab.deliver(frame);
    tab.deliver(frame);
  } else if (kind === "drop") {
    // Only a piece of an answer: who loses an end has lost the socket.
    const frame = gateway.next(pick, 1);
    if (frame?.type !== "chunk") tab.deliver(frame);
  } else if (kind === "save") tab.save();
  else if (kind === "keep") tab.tails.flush();
  else if (kind === "reload" || kind === "crash") tab.reload(kind === "crash");
  else if (kind === "wait") await vi.advanceTimersByTimeAsync(500);
  else if (kind === "ask")
    tab.begin(submit(tab.conversation, `question ${tab.ids}`, tab.clock, tab.newId), false);
  else if (kind === "again") {
    const answer = last(tab.conversation);
    if (answer?.role !== "assistant" || isRunning(answer) || answer.text === "") return;
    tab.regenerated += 1;
    tab.begin(regenerate(tab.conversation, answer.id, tab.clock, tab.newId), true);
  } else if (kind === "stop") {
    const answer = last(tab.conversation);
    if (pick === 0 && isRunning(answer)) {
      tab.tracker.stop(answer.id);
      tab.save();
    }
  } else if (kind === "on") {
    const answer = last(tab.conversation);
    if (answer?.role === "assistant" && canContinue(tab.conversation, answer, OFFER)) tab.goOn(answer.id);
  } else if (kind === "choose") {
    // An older branch, while the newer one may still be written.
    const branch = shown(tab.conversation).find(({ siblings }) => siblings.length > 1);
    const other = branch?.siblings[pick % branch.siblings.length];
    if (other) tab.conversation = withChosen(tab.conversation, other);
  } else if (kind === "edit") {
    const question = shown(tab.conversation).flatMap(({ id }) => userOf(tab.conversation, id) ?? [])[pick];
    if (question)
      tab.begin(edit(tab.conversation, question.id, `edited ${tab.ids}`, tab.clock, tab.newId), true);
  }
}

async function heal(tab: Tab): Promise<void> {
  for (let round = 0; round < 400; round += 1) {
    tab.connect();
    for (const frame of tab.up.splice(0)) tab.gateway.take(frame);
    for (let n = 0; n < 4; n += 1) tab.gateway.tick();
    for (let frame = tab.gateway.next(0, 2); frame; frame = tab.gateway.next(0, 2)) tab.deliver(frame);
    await Promise.resolve();
    await Promise.resolve();
    if (round % 8 === 7) await vi.advanceTimersByTimeAsync(5_000);
    if (tab.tracker.ofConversation("c-1").length === 0 && tab.up.length === 0) return;
  }
  throw new Error(`never done: ${JSON.stringify(tab.tracker.ofConversation("c-1"))}`);
}

function check(tab: Tab): void {
  const { gateway, conversation } = tab;
  const answers = Object.values(conversation.messages).filter((message) => message.role === "assistant");
  for (const answer of answers) {
    if (answer.outcome === "stopped") continue;
    expect(answer.outcome).toBe("done");
    const turn = gateway.all.get(answer.serverId ?? "");
    expect(turn).toBeDefined();
    if (turn) expect(answer.text).toBe(textOf(turn, turn.script.length));
    expect(turn?.user).toBe(answer.parent);
  }
  // Nothing is put to the model twice: as many answers as there are to a question, at most.
  const asks = new Map<string, number>();
  for (const { user } of gateway.asked) asks.set(user, (asks.get(user) ?? 0) + 1);
  for (const [user, count] of asks) {
    expect(count).toBeLessThanOrEqual(answers.filter((answer) => answer.parent === user).length);
  }
}

beforeAll(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] }));
afterAll(() => void vi.useRealTimers());

const world = () =>
  new Tab(
    new ModelGateway((question, run) =>
      [`«${question}» `, "潮 ", `${run}`, " 🌊", "\n", "end"].slice(0, 2 + (run % 5)),
    ),
  );

test("text is never lost, doubled or reordered, and nothing is asked twice", {
  timeout: 60_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 45, size: "max" }), async (steps) => {
      const tab = world();
      tab.connect();
      for (const one of steps) {
        await act(tab, one);
      }
      await heal(tab);
      check(tab);
    }),
    { numRuns: Number(process.env.RUNS ?? RUNS) },
  );
});

test("20 messages written without a socket, the tab killed: all once, in order", async () => {
  const tab = world();
  const wanted: string[] = [];
  for (let n = 0; n < 20; n += 1) {
    wanted.push(`message ${n}`);
    tab.begin(submit(tab.conversation, `message ${n}`, tab.clock, tab.newId), false);
  }
  tab.reload(false);
  await heal(tab);
  check(tab);
  expect(tab.gateway.asked.map(({ question }) => question)).toEqual(wanted);
  expect(tab.gateway.asked.at(-1)?.before).toEqual(wanted.slice(0, -1));
});

test("a message older than an hour is not sent unasked, and a clock that jumps back is no hour", async () => {
  const tab = world();
  tab.clock = 10_000_000;
  tab.begin(submit(tab.conversation, "old", tab.clock, tab.newId), false);
  tab.clock += 3_600_001;
  tab.begin(submit(tab.conversation, "new", tab.clock, tab.newId), false);
  await heal(tab);
  expect(tab.gateway.asked.map(({ question }) => question)).toEqual(["new"]);
  const old = Object.values(tab.conversation.messages).find(({ text }) => text === "old");
  expect(old).toMatchObject({ delivery: "stale" });
  tab.cut();
  tab.begin(submit(tab.conversation, "later", tab.clock, tab.newId), false);
  tab.clock -= 20_000_000;
  await heal(tab);
  expect(tab.gateway.asked.at(-1)?.question).toBe("later");
});

test("a resume and a late stop name their turn, so that no other one is followed or stopped", () => {
  const tab = world();
  const send = () => {
    for (const frame of tab.up.splice(0)) tab.gateway.take(frame);
  };
  tab.connect();
  tab.begin(submit(tab.conversation, "one", tab.clock, tab.newId), false);
  send();
  for (let n = 0; n < 5; n += 1) {
    tab.gateway.tick();
    tab.deliver(tab.gateway.next(0, 1));
  }
  const answer = Object.values(tab.conversation.messages).find(({ role }) => role === "assistant");
  const { serverId, applied } = answer as AssistantMessage;
  expect(applied).toBeGreaterThan(1);
  tab.cut();
  tab.connect();
  const resume = { type: "resume", messageId: serverId, lastSequence: applied };
  expect(tab.up).toMatchObject([resume]);
  // Stopped without a socket: named as well once there is one.
  tab.cut();
  tab.tracker.stop(answer?.id ?? "");
  tab.connect();
  expect(tab.up).toMatchObject([resume, { type: "abort" }]);
  // Before the first chunk the question names the turn.
  tab.begin(submit(tab.conversation, "two", tab.clock, tab.newId), false);
  const [question] = Object.values(tab.conversation.messages).filter(({ text }) => text === "two");
  tab.up = [];
  tab.cut();
  tab.tracker.drop("c-1");
  const other = Object.values(tab.conversation.messages).find((message) => message.parent === question?.id);
  tab.tracker.begin("c-1", other as AssistantMessage, true);
  tab.connect();
  expect(tab.up).toMatchObject([{ type: "resume", messageId: question?.id }]);
});

test("a late stop of a replacement names its turn, even while it is not known whether it arrived", async () => {
  const tab = world();
  tab.connect();
  tab.begin(submit(tab.conversation, "one", tab.clock, tab.newId), false);
  await heal(tab);
  const old = last(tab.conversation) as AssistantMessage;
  tab.begin(regenerate(tab.conversation, old.id, tab.clock, tab.newId), true);
  tab.cut();
  tab.connect();
  expect(tab.up).toMatchObject([{ type: "resume" }]);
  expect(tab.up[0]).not.toHaveProperty("messageId");
  tab.cut();
  tab.tracker.stop((last(tab.conversation) as AssistantMessage).id);
  tab.connect();
  expect(tab.up).toMatchObject([{ type: "resume", messageId: old.parent }, { type: "abort" }]);
});
