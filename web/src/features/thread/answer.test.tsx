/** What is seen of an answer while it is awaited and written. */
import { act, cleanup, screen } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ChatState } from "../../chat/contract";
import type { AssistantMessage } from "../../chat/model";
import { answer, conversation, draw, fakeStore, put, question } from "../../testing/fake-store";
import { Item } from "./item";

beforeEach(() => void vi.useFakeTimers({ now: 1_000_000 }));
afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

const nothing = () => {};

function begin(first: AssistantMessage, change: Partial<ChatState> = {}) {
  const store = fakeStore({
    open: { c: conversation(question(), answer()) },
    writing: { a: first },
    ...change,
  });
  const shown = { id: "a", index: 0, siblings: ["a"] };
  draw(store, <Item conversation="c" shown={shown} isEditing={false} onEdit={nothing} onAsk={nothing} />);
  return store;
}

const pass = (ms: number) => act(() => vi.advanceTimersByTimeAsync(ms));
const isWaiting = () => screen.queryByText("Still waiting for the model…") !== null;

describe("an answer that is awaited", () => {
  it("says after five seconds that it is still waited for, also before the first word", async () => {
    begin(answer());
    expect(screen.getByText("Waiting for the answer")).toBeTruthy();
    await pass(4_900);
    expect(isWaiting()).toBe(false);
    await pass(200);
    expect(isWaiting()).toBe(true);
  });

  it("stops saying so with the next word, and begins to count anew", async () => {
    const store = begin(answer({ text: "The", outcome: "streaming" }));
    await pass(5_100);
    expect(isWaiting()).toBe(true);
    put(store, { writing: { a: answer({ text: "The moon", outcome: "streaming" }) } });
    expect(isWaiting()).toBe(false);
    await pass(4_900);
    expect(isWaiting()).toBe(false);
    put(store, { writing: { a: answer({ text: "The moon", reasoning: "x", outcome: "streaming" }) } });
    await pass(4_900);
    expect(isWaiting()).toBe(false);
  });

  it.each<[string, AssistantMessage, Partial<ChatState>]>([
    ["it stands in the queue", answer({ queuePosition: 2 }), {}],
    ["another try follows", answer({ retrying: { attempt: 2, afterMs: 10_000 } }), {}],
    ["the connection is lost", answer(), { link: { kind: "offline" } }],
    ["the gateway does not answer", answer(), { link: { kind: "live", doubted: 1 } }],
    ["it is finished", answer({ text: "x", outcome: "done" }), {}],
  ])("does not blame the model when %s", async (_, first, change) => {
    begin(first, change);
    await pass(20_000);
    expect(isWaiting()).toBe(false);
  });
});
