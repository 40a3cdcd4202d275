/** What was typed is there again. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { DEBOUNCE_MS, openDrafts } from "./drafts";

beforeEach(() => {
  localStorage.clear();
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

test("every conversation has its own, also after a reload", () => {
  const drafts = openDrafts();
  drafts.write("a", "for a");
  drafts.write("b", "for b");
  expect(drafts.read("a")).toBe("for a");
  vi.advanceTimersByTime(DEBOUNCE_MS);
  const later = openDrafts();
  expect([later.read("a"), later.read("b"), later.read("c")]).toEqual(["for a", "for b", ""]);
});

test("a page that goes before the pause is over loses nothing", () => {
  const drafts = openDrafts();
  drafts.write("a", "unfinis");
  drafts.flush();
  expect(openDrafts().read("a")).toBe("unfinis");
});

test("what was sent is no draft any more", () => {
  const drafts = openDrafts();
  drafts.write("a", "sent");
  drafts.flush();
  drafts.write("a", "");
  expect(drafts.read("a")).toBe("");
  drafts.flush();
  expect(openDrafts().read("a")).toBe("");
  expect(localStorage).toHaveLength(0);
});

test("without storage it is kept as long as the page is", () => {
  vi.spyOn(Storage.prototype, "setItem").mockImplementation(() => {
    throw new DOMException("full", "QuotaExceededError");
  });
  const drafts = openDrafts();
  drafts.write("a", "kept");
  expect(() => vi.advanceTimersByTime(DEBOUNCE_MS)).not.toThrow();
  expect(drafts.read("a")).toBe("kept");
});
