/** Keeps the end in view until the user scrolls away. Only user input releases it, never a change of height. */
import { type RefObject, useCallback, useEffect, useRef, useState } from "react";

const AT_END_PX = 4;
/** Space below the last message: if no more than this is hidden, the end counts as visible. */
const ROOM_PX = 24;
const KEYS_UP = new Set(["PageUp", "Home", "ArrowUp"]);

export interface Latch {
  isFollowing: boolean;
  /** Part of the conversation is hidden below. */
  isMoreBelow: boolean;
  /** Scrolls to the end and follows it. */
  follow: () => void;
  /** Stops following. */
  letGo: () => void;
}

/** `hasEnd`: there are messages; without any, the content is shown from its top. */
export function useFollowLatch(
  scroller: RefObject<HTMLElement | null>,
  content: RefObject<HTMLElement | null>,
  hasEnd = true,
): Latch {
  const [isFollowing, setIsFollowing] = useState(true);
  const [isMoreBelow, setIsMoreBelow] = useState(false);
  const following = useRef(true);
  /** The end was out of view since release: a late event of our own scroll must not start following again. */
  const wasAway = useRef(false);
  const set = useCallback((value: boolean) => {
    if (following.current) wasAway.current = false;
    following.current = value;
    setIsFollowing(value);
  }, []);
  const toEnd = useCallback(() => {
    const box = scroller.current;
    if (box) box.scrollTop = hasEnd ? box.scrollHeight : 0;
  }, [scroller, hasEnd]);

  useEffect(() => {
    const box = scroller.current;
    const inner = content.current;
    if (!box || !inner) return;
    let touchY = 0;
    let isHand = false;
    const below = () => box.scrollHeight - box.scrollTop - box.clientHeight;
    const isAtEnd = () => below() <= AT_END_PX;
    const look = () => setIsMoreBelow(below() > ROOM_PX);
    const release = () => set(false);
    const onWheel = (event: WheelEvent) => {
      isHand = true;
      if (event.deltaY < 0) release();
    };
    const onTouchStart = (event: TouchEvent) => {
      touchY = event.touches[0]?.clientY ?? 0;
    };
    const onTouchMove = (event: TouchEvent) => {
      isHand = true;
      if ((event.touches[0]?.clientY ?? 0) > touchY + 2) release();
    };
    const onKey = (event: KeyboardEvent) => {
      if (event.target instanceof HTMLTextAreaElement || event.target instanceof HTMLInputElement) return;
      isHand = true;
      if (KEYS_UP.has(event.key) || (event.key === " " && event.shiftKey)) release();
    };
    const onPointerDown = (event: PointerEvent) => {
      // The scrollbar belongs to the scroller, outside of its content.
      if (event.target === box && event.offsetX >= box.clientWidth) {
        isHand = true;
        release();
      }
    };
    const onSelect = () => {
      const selection = document.getSelection();
      if (selection && !selection.isCollapsed && inner.contains(selection.anchorNode)) release();
    };
    const onScroll = () => {
      look();
      if (!isHand || following.current) return;
      if (!isAtEnd()) wasAway.current = true;
      else if (wasAway.current) set(true);
    };
    // Heights change between commit and paint: scrolled in the same frame, nothing visibly jumps.
    const observer = new ResizeObserver(() => {
      if (following.current) toEnd();
      else if (!isAtEnd()) wasAway.current = true;
      look();
    });
    observer.observe(inner);
    observer.observe(box);
    const passive = { passive: true } as const;
    box.addEventListener("wheel", onWheel, passive);
    box.addEventListener("touchstart", onTouchStart, passive);
    box.addEventListener("touchmove", onTouchMove, passive);
    box.addEventListener("pointerdown", onPointerDown, passive);
    box.addEventListener("scroll", onScroll, passive);
    document.addEventListener("keydown", onKey, passive);
    document.addEventListener("selectionchange", onSelect, passive);
    return () => {
      observer.disconnect();
      box.removeEventListener("wheel", onWheel);
      box.removeEventListener("touchstart", onTouchStart);
      box.removeEventListener("touchmove", onTouchMove);
      box.removeEventListener("pointerdown", onPointerDown);
      box.removeEventListener("scroll", onScroll);
      document.removeEventListener("keydown", onKey);
      document.removeEventListener("selectionchange", onSelect);
    };
  }, [scroller, content, set, toEnd]);

  const follow = useCallback(() => {
    set(true);
    toEnd();
  }, [set, toEnd]);
  const letGo = useCallback(() => set(false), [set]);
  return { isFollowing, isMoreBelow, follow, letGo };
}
