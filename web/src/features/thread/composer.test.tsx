/** The box to write in: what sends, what does not, and what is kept. */
import { act, cleanup, fireEvent, screen } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  answer,
  conversation,
  draw,
  type FakeStore,
  fakeStore,
  put,
  question,
} from "../../testing/fake-store";
import { Composer } from "./composer";

afterEach(cleanup);

const field = () => screen.getByRole<HTMLTextAreaElement>("textbox", { name: "Message" });
const write = (value: string) => fireEvent.change(field(), { target: { value } });

function begin(store: FakeStore = fakeStore()) {
  const onSend = vi.fn();
  const onEditLast = vi.fn();
  const drawn = draw(store, <Composer conversation="c" onSend={onSend} onEditLast={onEditLast} />);
  return { store, onSend, onEditLast, drawn };
}

describe("sending", () => {
  it("sends with Enter, empties the box and follows the answer", () => {
    const { store, onSend } = begin();
    write("hello");
    fireEvent.keyDown(field(), { key: "Enter" });
    expect(store.done).toEqual([["send", "c", "hello"]]);
    expect(field().value).toBe("");
    expect(onSend).toHaveBeenCalledOnce();
  });

  it("does not send with Shift+Enter, nor what has nothing to be seen", () => {
    const { store } = begin();
    write("hello");
    fireEvent.keyDown(field(), { key: "Enter", shiftKey: true });
    write("  \n");
    fireEvent.keyDown(field(), { key: "Enter" });
    expect(store.done).toEqual([]);
    expect(screen.getByRole<HTMLButtonElement>("button", { name: "Send" }).disabled).toBe(true);
  });

  it("sends with Ctrl+Enter alone where that was chosen", () => {
    const settings = { theme: "system", language: "system", sendKey: "mod-enter" } as const;
    const { store } = begin(fakeStore({ settings }));
    write("hello");
    fireEvent.keyDown(field(), { key: "Enter" });
    expect(store.done).toEqual([]);
    fireEvent.keyDown(field(), { key: "Enter", ctrlKey: true });
    expect(store.done).toEqual([["send", "c", "hello"]]);
  });

  it("leaves an Enter to the input method, in the common order and in Safari's", () => {
    const { store } = begin();
    fireEvent.compositionStart(field());
    write("你好");
    fireEvent.keyDown(field(), { key: "Enter", keyCode: 229, isComposing: true });
    fireEvent.compositionEnd(field());
    fireEvent.keyDown(field(), { key: "Enter", keyCode: 229 });
    expect(store.done).toEqual([]);
    fireEvent.keyDown(field(), { key: "Enter", keyCode: 13 });
    expect(store.done).toEqual([["send", "c", "你好"]]);
  });

  it("says how much is too long, counted in bytes, and does not send it", () => {
    const { store } = begin();
    write("潮".repeat(22_000));
    expect(screen.getByText(/^464 bytes too long/)).toBeTruthy();
    fireEvent.keyDown(field(), { key: "Enter" });
    expect(store.done).toEqual([]);
  });
});

describe("keys beside it", () => {
  it("stops a running answer with Escape, but not one that closes an input method", () => {
    const { store } = begin(fakeStore({ open: { c: conversation(question(), answer()) } }));
    fireEvent.compositionStart(field());
    fireEvent.keyDown(field(), { key: "Escape", isComposing: true });
    expect(store.done).toEqual([]);
    fireEvent.compositionEnd(field());
    fireEvent.keyDown(field(), { key: "Escape" });
    expect(store.done).toEqual([["stop", "c"]]);
  });

  it("edits the last message with the arrow, from an empty box only", () => {
    const { onEditLast } = begin();
    write("x");
    fireEvent.keyDown(field(), { key: "ArrowUp" });
    expect(onEditLast).not.toHaveBeenCalled();
    write("");
    fireEvent.keyDown(field(), { key: "ArrowUp" });
    expect(onEditLast).toHaveBeenCalledOnce();
  });

  it("shows Stop while an answer runs, and Send beside it once something is written", () => {
    const { store } = begin(fakeStore({ open: { c: conversation(question(), answer()) } }));
    expect(screen.queryByRole("button", { name: "Send" })).toBeNull();
    write("more");
    expect(screen.getByRole("button", { name: "Send" })).toBeTruthy();
    put(store, { open: { c: conversation(question(), answer({ outcome: "done" })) } });
    expect(screen.queryByRole("button", { name: "Stop" })).toBeNull();
  });
});

describe("drafts", () => {
  it("keeps what was typed for each conversation", () => {
    const store = fakeStore();
    store.drafts.set("d", "half a sentence");
    const { drawn } = begin(store);
    write("for c");
    expect(store.drafts.get("c")).toBe("for c");
    drawn.unmount();
    draw(store, <Composer conversation="d" onSend={() => {}} onEditLast={() => {}} />);
    expect(field().value).toBe("half a sentence");
  });

  it("shows words that came back, in an empty box only", () => {
    const { store } = begin();
    store.drafts.set("c", "taken back");
    act(() => store.setState({ returned: 1 }));
    expect(field().value).toBe("taken back");
    write("something else");
    act(() => store.setState({ returned: 2 }));
    expect(field().value).toBe("something else");
  });
});
