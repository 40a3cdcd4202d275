/**
 * Dispatches Escape. This is the only place in the page that reads the key: one press has one effect, and a layer that
 * the browser itself closes (a dialog, a popover) hides it from everything beneath.
 */
import { type RefObject, useEffect, useRef } from "react";
import { ImeGuard } from "./ime";

/** Open layers that the browser closes by Escape. A manual popover is not among them. */
const NATIVE_LAYERS = "dialog[open], [popover]:not([popover='manual']):popover-open";

interface Handler {
  /** Handles only keys from inside this element; without one, keys from outside of fields. */
  scope?: RefObject<HTMLElement | null>;
  /** False: nothing to do, try the next handler. */
  action: () => boolean;
}

type Level = "field" | "cover" | "page";

const handlers: Record<Level, Handler[]> = { field: [], cover: [], page: [] };
const ime = new ImeGuard();
let stopListening: (() => void) | null = null;

function isNativeLayerOpen(): boolean {
  try {
    return document.querySelector(NATIVE_LAYERS) !== null;
  } catch {
    // A browser without popovers has no `:popover-open`.
    return document.querySelector("dialog[open]") !== null;
  }
}

const isField = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && (target.matches("input, textarea, select") || target.isContentEditable);

/** Fields that contain the target first, innermost first; then covers, newest first; then the page. */
function candidates(target: EventTarget | null): Handler[] {
  const inside = handlers.field.filter(
    ({ scope }) => target instanceof Node && scope?.current?.contains(target),
  );
  inside.sort((a, b) => (a.scope?.current?.contains(b.scope?.current ?? null) ? 1 : -1));
  const around = [...handlers.cover.toReversed(), ...(isField(target) ? [] : handlers.page)];
  return [...inside, ...around];
}

function onKeyDown(event: KeyboardEvent): void {
  if (event.key !== "Escape" || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  // It ends a composition; or the layer that it closed is gone and the key is still held.
  if (ime.owns(event, performance.now()) || event.keyCode === 229 || event.repeat) return;
  if (isNativeLayerOpen()) return;
  const isHandled = candidates(event.target).some(({ action }) => action());
  if (!isHandled) return;
  event.preventDefault();
  event.stopPropagation();
}

function listen(): () => void {
  const onStart = () => ime.start();
  const onEnd = () => ime.end(performance.now());
  const onBlur = () => ime.blur();
  // Captured, so that it is handled before any layer closes or stops the event.
  document.addEventListener("keydown", onKeyDown, true);
  document.addEventListener("compositionstart", onStart, true);
  document.addEventListener("compositionend", onEnd, true);
  document.addEventListener("focusout", onBlur, true);
  return () => {
    document.removeEventListener("keydown", onKeyDown, true);
    document.removeEventListener("compositionstart", onStart, true);
    document.removeEventListener("compositionend", onEnd, true);
    document.removeEventListener("focusout", onBlur, true);
  };
}

function register(level: Level, handler: Handler): () => void {
  stopListening ??= listen();
  handlers[level].push(handler);
  return () => {
    handlers[level] = handlers[level].filter((known) => known !== handler);
    if (Object.values(handlers).some((known) => known.length > 0)) return;
    stopListening?.();
    stopListening = null;
  };
}

function useHandler(
  level: Level,
  action: () => boolean,
  isActive: boolean,
  scope?: RefObject<HTMLElement | null>,
) {
  const current = useRef(action);
  useEffect(() => {
    current.current = action;
  });
  useEffect(() => {
    if (!isActive) return;
    return register(level, { ...(scope ? { scope } : {}), action: () => current.current() });
  }, [level, isActive, scope]);
}

/** Escape inside an element, such as a field and its buttons. The action returns false if it has nothing to do. */
export function useEscapeWithin(scope: RefObject<HTMLElement | null>, action: () => boolean): void {
  useHandler("field", action, true, scope);
}

/** Escape closes a cover of the whole page, while it is open. */
export function useEscapeCover(isOpen: boolean, close: () => void): void {
  useHandler(
    "cover",
    () => {
      close();
      return true;
    },
    isOpen,
  );
}

/** Escape outside of fields that no other handler takes. */
export function useEscapePage(action: () => boolean): void {
  useHandler("page", action, true);
}
