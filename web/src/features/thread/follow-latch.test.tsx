/** The end is followed until a hand goes elsewhere, and never let go by a change of height. */
import { act, cleanup, fireEvent, render } from "@testing-library/react";
import { useRef } from "react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Latch, useFollowLatch } from "./follow-latch";

let resized: () => void;
let latch: Latch;

beforeEach(() => {
  vi.stubGlobal(
    "ResizeObserver",
    class {
      constructor(onResize: () => void) {
        resized = onResize;
      }
      observe() {}
      disconnect() {}
    },
  );
});
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

function Probe() {
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  latch = useFollowLatch(scroller, content);
  return (
    <div ref={scroller} data-testid="scroller">
      <div ref={content}>text</div>
    </div>
  );
}

function begin() {
  const box = render(<Probe />).getByTestId("scroller");
  const grow = (height: number) => {
    Object.defineProperty(box, "scrollHeight", { value: height, configurable: true });
    act(() => resized());
  };
  Object.defineProperty(box, "clientHeight", { value: 100, configurable: true });
  const scrollTo = (top: number) => {
    box.scrollTop = top;
    fireEvent.scroll(box);
  };
  return { box, grow, scrollTo };
}

describe("the latch", () => {
  it("follows what grows", () => {
    const { box, grow } = begin();
    grow(500);
    expect(box.scrollTop).toBe(500);
  });

  it.each([
    ["the wheel", (box: HTMLElement) => fireEvent.wheel(box, { deltaY: -20 })],
    ["a key", (box: HTMLElement) => fireEvent.keyDown(box, { key: "PageUp" })],
    [
      "a finger",
      (box: HTMLElement) => {
        fireEvent.touchStart(box, { touches: [{ clientY: 10 }] });
        fireEvent.touchMove(box, { touches: [{ clientY: 40 }] });
      },
    ],
  ])("lets go by %s, and stays where the reader is", (_, hand) => {
    const { box, grow } = begin();
    grow(500);
    hand(box);
    box.scrollTop = 200;
    grow(900);
    expect(box.scrollTop).toBe(200);
    expect(latch.isFollowing).toBe(false);
  });

  it("does not follow again because of a late event of its own scroll", () => {
    const { box, grow, scrollTo } = begin();
    grow(500);
    fireEvent.keyDown(box, { key: "PageUp" });
    // The browser's own motion has not begun yet.
    fireEvent.scroll(box);
    scrollTo(300);
    grow(900);
    expect(box.scrollTop).toBe(300);
    // Who comes back to the end by hand follows again.
    scrollTo(800);
    grow(1000);
    expect(box.scrollTop).toBe(1000);
  });

  it("is not released by a scroll without user input", () => {
    const { box, grow, scrollTo } = begin();
    grow(500);
    scrollTo(380);
    grow(600);
    expect(box.scrollTop).toBe(600);
  });

  it("is not let go by keys in a field", () => {
    const { grow } = begin();
    grow(500);
    const field = document.createElement("textarea");
    document.body.append(field);
    fireEvent.keyDown(field, { key: "ArrowUp" });
    field.remove();
    expect(latch.isFollowing).toBe(true);
  });

  it("takes hold again at the end, reached by hand, or by the button", () => {
    const { box, grow, scrollTo } = begin();
    grow(500);
    fireEvent.wheel(box, { deltaY: -20 });
    scrollTo(300);
    expect(latch.isFollowing).toBe(false);
    fireEvent.wheel(box, { deltaY: 20 });
    scrollTo(400);
    expect(latch.isFollowing).toBe(true);
    fireEvent.wheel(box, { deltaY: -20 });
    act(() => latch.follow());
    expect(latch.isFollowing).toBe(true);
    expect(box.scrollTop).toBe(500);
  });

  it("does not take hold because the text grew shorter under a reader", () => {
    const { box, grow } = begin();
    grow(500);
    act(() => latch.letGo());
    box.scrollTop = 100;
    grow(200);
    expect(latch.isFollowing).toBe(false);
  });

  it("says that more is below only when it is", () => {
    const { box, grow, scrollTo } = begin();
    grow(110);
    fireEvent.wheel(box, { deltaY: -20 });
    expect([latch.isFollowing, latch.isMoreBelow]).toEqual([false, false]);
    grow(500);
    expect(latch.isMoreBelow).toBe(true);
    scrollTo(390);
    expect(latch.isMoreBelow).toBe(false);
    scrollTo(100);
    expect(latch.isMoreBelow).toBe(true);
  });
});
