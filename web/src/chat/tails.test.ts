/** What was on the screen is there again after a reload, though IndexedDB was behind: no loss, no doubling, and the right number. */
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { answer, conversation, question } from "../testing/fake-store";
import { memoryTails } from "../testing/memory-tails";
import { type AssistantMessage, type Conversation, isRunning } from "./model";
import { readTail, TAIL_CHARS_MAX, type Tail, tailOf, withTails } from "./tail";
import { KEEP_MS, TAILS_MAX, Tails } from "./tails";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const written = (text: string, applied: number, change: Partial<AssistantMessage> = {}) =>
  answer({ serverId: "msg-1", outcome: "streaming", text, applied, ...change });
const holding = (message: AssistantMessage): Conversation => conversation(question(), message);
const answerIn = (of: Conversation): AssistantMessage => of.messages.a as AssistantMessage;

/** What is read is what was written. */
const throughJson = (tail: Tail): Tail => readTail(JSON.stringify(tail)) as Tail;

describe("a tail", () => {
  test("continues what is stored exactly, from every point and whichever of them is older", () => {
    const prefixes = fc.array(fc.tuple(fc.string({ unit: "binary", maxLength: 30 }), fc.boolean()), {
      minLength: 1,
      maxLength: 20,
    });
    fc.assert(
      fc.property(prefixes, fc.nat(20), fc.nat(20), fc.nat(20), (deltas, a, b, c) => {
        const at = (count: number) => {
          const upTo = Math.min(count, deltas.length);
          const texts = deltas.slice(0, upTo);
          const join = (wantsReasoning: boolean) =>
            texts.map(([text, isReasoning]) => (isReasoning === wantsReasoning ? text : "")).join("");
          return written(join(false), upTo + 2, { reasoning: join(true) });
        };
        const [base, shown, stored] = [a, a + b, a + c].map(at) as [
          AssistantMessage,
          AssistantMessage,
          AssistantMessage,
        ];
        const tail = tailOf("c", shown, {
          serverId: "msg-1",
          applied: base.applied as number,
          text: base.text.length,
          reasoning: base.reasoning.length,
        });
        if (tail === "nothing") {
          expect(shown.applied).toBe(base.applied);
          return;
        }
        const joined = answerIn(withTails(holding(stored), [throughJson(tail as Tail)]));
        const newer = (shown.applied as number) > (stored.applied as number) ? shown : stored;
        const { text, reasoning, applied } = newer;
        expect(joined).toMatchObject({ text, reasoning, applied });
      }),
      { numRuns: 5_000 },
    );
  });

  test("that belongs to other text, another answer or a finished one changes nothing", () => {
    const base = { serverId: "msg-1", applied: 3, text: 5, reasoning: 0 };
    const tail = throughJson(tailOf("c", written("Hello, you", 5), base) as Tail);
    expect(answerIn(withTails(holding(written("Hello", 3)), [tail])).text).toBe("Hello, you");
    for (const other of [
      written("Hullo", 3),
      written("Hel", 2),
      written("Hello", 3, { serverId: "msg-2" }),
      written("Hello", 3, { outcome: "stopped" }),
      written("Hello, you are", 7),
    ]) {
      const stored = holding(other);
      expect(withTails(stored, [tail])).toBe(stored);
    }
    const elsewhere = { ...holding(written("Hello", 3)), id: "d" };
    expect(withTails(elsewhere, [tail])).toBe(elsewhere);
  });

  test("says that the question had arrived, so that it is not asked again", () => {
    const stored = conversation(question({ delivery: "sent" }), answer());
    const tail = tailOf("c", written("Hello", 3), { text: 0, reasoning: 0 }) as Tail;
    const joined = withTails(stored, [tail]);
    expect(joined.messages.u).toMatchObject({ delivery: "accepted" });
    expect(answerIn(joined)).toMatchObject({ serverId: "msg-1", applied: 3, outcome: "streaming" });
  });

  test("is not made of an answer without a word, nor read from a damaged entry", () => {
    expect(tailOf("c", answer(), { text: 0, reasoning: 0 })).toBe("nothing");
    for (const damaged of ["", "null", "7", "{}", '{"conversation":"c","answer":"a"}', "[", '"x"']) {
      expect(readTail(damaged)).toBeUndefined();
    }
  });
});

function page(room?: number, tab = "t-1", store = memoryTails(room)) {
  const asked: string[] = [];
  let release: () => void = () => undefined;
  const tails = new Tails(store, tab, (id) => {
    asked.push(id);
    return new Promise((resolve) => {
      release = resolve;
    });
  });
  return { tails, store, asked, release: async () => release() };
}

const kept = ({ store }: { store: ReturnType<typeof memoryTails> }) =>
  [...store.entries.values()].map((json) => readTail(json)?.text.text);

describe("keeping", () => {
  test("happens half a second after the first new word, once for all that came", () => {
    const one = page();
    one.tails.stored(holding(written("Hello", 3)));
    const write = vi.spyOn(one.store, "write");
    for (let n = 1; n <= 200; n += 1) {
      one.tails.written("c", written(`Hello${".".repeat(n)}`, 3 + n));
      vi.advanceTimersByTime(2);
    }
    expect(write).not.toHaveBeenCalled();
    vi.advanceTimersByTime(KEEP_MS - 400);
    expect(write).toHaveBeenCalledTimes(1);
    expect(kept(one)).toEqual([".".repeat(200)]);
  });

  test("of a page that goes does not wait", () => {
    const one = page();
    one.tails.stored(holding(written("Hello", 3)));
    one.tails.written("c", written("Hello, you", 4));
    one.tails.flush();
    expect(kept(one)).toEqual([", you"]);
  });

  test("ends when IndexedDB has as much, or has its end", () => {
    const one = page();
    one.tails.stored(holding(written("Hello", 3)));
    one.tails.written("c", written("Hello, you", 4));
    one.tails.flush();
    one.tails.stored(holding(written("Hello,", 3)));
    expect(kept(one)).toEqual([", you"]);
    one.tails.stored(holding(written("Hello, you", 4)));
    expect(kept(one)).toEqual([]);
    one.tails.written("c", written("Hello, you are", 5));
    one.tails.flush();
    expect(kept(one)).toEqual([" are"]);
    const done = written("Hello, you are", 5, { outcome: "done" });
    one.tails.written("c", done);
    one.tails.stored(holding(done));
    one.tails.flush();
    expect(kept(one)).toEqual([]);
  });

  test("begins when IndexedDB has the question: before, there is nothing to be joined to", () => {
    const one = page();
    one.tails.written("c", written("Hello", 3));
    one.tails.flush();
    expect(kept(one)).toEqual([]);
  });

  test("of a tail that is too long, or finds no room, stores the conversation instead, one time after the other", async () => {
    for (const [room, text] of [
      [undefined, "x".repeat(TAIL_CHARS_MAX + 1)],
      [400, "x".repeat(400)],
    ] as const) {
      const one = page(room);
      one.tails.stored(holding(answer({ serverId: "msg-1" })));
      one.tails.written("c", written("Hel", 2));
      one.tails.flush();
      const before = kept(one);
      for (let n = 0; n < 3; n += 1) {
        one.tails.written("c", written(text, 3 + n));
        one.tails.flush();
      }
      expect(one.asked).toEqual(["c"]);
      // What was kept before is still true.
      expect(kept(one)).toEqual(before);
      await one.release();
      await vi.advanceTimersByTimeAsync(0);
      one.tails.written("c", written(`${text}y`, 9));
      one.tails.flush();
      expect(one.asked).toEqual(["c", "c"]);
      one.tails.stored(holding(written(`${text}y`, 9)));
      one.tails.written("c", written(`${text}yz`, 10));
      one.tails.flush();
      expect(kept(one)).toEqual(["z"]);
    }
  });

  test("is bounded in number", () => {
    const one = page();
    for (let n = 0; n < TAILS_MAX + 5; n += 1) {
      const message = written("", 2, { id: `a${n}` });
      one.tails.stored({ ...conversation(question(), message), id: `c${n}` });
      one.tails.written(`c${n}`, { ...message, text: "x", applied: 3 });
    }
    one.tails.flush();
    expect(one.store.entries.size).toBe(TAILS_MAX);
  });
});

describe("several tabs", () => {
  test("keep the same answer apart, and the longest tail counts", () => {
    const store = memoryTails();
    const first = page(undefined, "t-1", store);
    const second = page(undefined, "t-2", store);
    const stored = holding(written("Hello", 3));
    for (const { tails } of [first, second]) tails.stored(stored);
    first.tails.written("c", written("Hello, you", 5));
    second.tails.written("c", written("Hello, ", 4));
    first.tails.flush();
    second.tails.flush();
    expect(store.entries.size).toBe(2);
    const third = page(undefined, "t-3", store);
    expect(answerIn(third.tails.join(stored))).toMatchObject({ text: "Hello, you", applied: 5 });
    // What one of them stores covers only what it has.
    third.tails.stored(holding(written("Hello, ", 4)));
    expect(kept(first)).toEqual([", you"]);
  });

  test("a page that starts removes what belongs to nothing, and nothing that came since", () => {
    const store = memoryTails();
    const first = page(undefined, "t-1", store);
    first.tails.stored(holding(written("Hello", 3)));
    first.tails.written("c", written("Hello, you", 5));
    first.tails.flush();
    store.entries.set("x/t-0", "rubbish");
    const second = page(undefined, "t-2", store);
    const keys = second.tails.keys();
    second.tails.stored({ ...holding(written("", 1, { id: "b" })), id: "d" });
    first.tails.stored({ ...conversation(question(), written("", 2, { id: "b" })), id: "d" });
    first.tails.written("d", written("new", 4, { id: "b" }));
    first.tails.flush();
    second.tails.clean(keys, () => false);
    expect(kept(first)).toEqual(["new"]);
  });

  test("a conversation that is removed takes its tails along", () => {
    const one = page();
    one.tails.stored(holding(written("Hello", 3)));
    one.tails.written("c", written("Hello, you", 5));
    one.tails.flush();
    one.tails.drop("c");
    one.tails.flush();
    expect(one.store.entries.size).toBe(0);
  });
});

test("an answer that ended a moment before is finished after it", () => {
  const done = written("Hello, you", 6, { outcome: "done", finishReason: "stop", durationMs: 12 });
  const one = page();
  one.tails.stored(holding(written("Hello", 3)));
  one.tails.written("c", done);
  one.tails.flush();
  const next = page(undefined, "t-2", one.store);
  expect(answerIn(next.tails.join(holding(written("Hello", 3))))).toEqual(done);
  // Stopped here: the gateway gave it no number.
  const stopped = written("Hello", 3, { outcome: "stopped" });
  one.tails.written("c", stopped);
  one.tails.flush();
  expect(answerIn(next.tails.join(holding(written("Hello", 3))))).toEqual(stopped);
});

test("a joined answer is one that goes on", () => {
  const tail = tailOf("c", written("Hello", 3), { text: 0, reasoning: 0 }) as Tail;
  expect(isRunning(answerIn(withTails(holding(answer()), [tail])))).toBe(true);
});
