/** The fold: open while it thinks, closed with the first word, and as the reader wants it. */
import { cleanup, fireEvent, screen } from "@testing-library/react";
import { afterEach, describe, expect, it } from "vitest";
import type { AssistantMessage } from "../../chat/model";
import { answer, draw, fakeStore } from "../../testing/fake-store";
import { Reasoning } from "./reasoning";

afterEach(cleanup);

const store = fakeStore();
const fold = () => document.querySelector<HTMLDetailsElement>('[data-part="reasoning"]');

function begin(first: AssistantMessage) {
  const drawn = draw(store, <Reasoning answer={first} isRunning />);
  const next = (change: Partial<AssistantMessage>, isRunning = true) =>
    drawn.rerender(<Reasoning answer={{ ...first, ...change }} isRunning={isRunning} />);
  return next;
}

const thinking = answer({ outcome: "streaming", reasoning: "The moon…" });

describe("the fold of thoughts", () => {
  it("is open during reasoning and closes with the first text, showing how long it took", () => {
    const drawn = draw(store, <Reasoning answer={thinking} isRunning />);
    expect(fold()?.open).toBe(true);
    expect(screen.getByText("Thinking…")).toBeTruthy();
    drawn.unmount();
    draw(store, <Reasoning answer={{ ...thinking, text: "A", reasoningMs: 12_000 }} isRunning />);
    expect(fold()?.open).toBe(false);
    expect(screen.getByText("Thought for 12s")).toBeTruthy();
  });

  it("closes by itself in the middle of the answer", () => {
    const next = begin(thinking);
    next({ text: "A" });
    expect(fold()?.open).toBe(false);
  });

  it("stays open where the reader opened it, and closed where the reader closed it", () => {
    const next = begin(thinking);
    fireEvent.click(screen.getByText("Thinking…"));
    expect(fold()?.open).toBe(false);
    next({ reasoning: "The moon pulls" });
    expect(fold()?.open).toBe(false);
    next({ text: "A", reasoningMs: 3000 });
    fireEvent.click(screen.getByText("Thought for 3s"));
    next({ text: "A tide", outcome: "done", reasoningMs: 3000 }, false);
    expect(fold()?.open).toBe(true);
  });
});
