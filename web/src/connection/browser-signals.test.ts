/** What the browser tells reaches the connection, and nothing does once it listens no more. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { listen } from "./browser-signals";

let visibility = "visible";
const told: string[] = [];
const link = {
  wake: () => void told.push("wake"),
  offline: () => void told.push("offline"),
  setVisible: (isVisible: boolean) => void told.push(isVisible ? "seen" : "hidden"),
};

beforeEach(() => {
  vi.useFakeTimers();
  told.length = 0;
  visibility = "visible";
  vi.spyOn(document, "visibilityState", "get").mockImplementation(() => visibility as "visible" | "hidden");
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const look = (state: string) => {
  visibility = state;
  document.dispatchEvent(new Event("visibilitychange"));
};

test("back, shown or thawed it asks within a quarter of a second; offline and hidden are told at once", () => {
  const stop = listen(link, () => 0.9);
  expect(told.splice(0)).toEqual(["seen"]);
  for (const event of ["online", "pageshow"]) {
    window.dispatchEvent(new Event(event));
    expect(told).toEqual([]);
    vi.advanceTimersByTime(250);
    expect(told.splice(0)).toEqual(["wake"]);
  }
  look("hidden");
  vi.advanceTimersByTime(250);
  expect(told.splice(0)).toEqual(["hidden"]);
  look("visible");
  document.dispatchEvent(new Event("resume"));
  vi.advanceTimersByTime(250);
  expect(told.splice(0)).toEqual(["seen", "wake"]);
  // The wish of a moment ago is overtaken.
  window.dispatchEvent(new Event("online"));
  window.dispatchEvent(new Event("offline"));
  vi.advanceTimersByTime(250);
  expect(told.splice(0)).toEqual(["offline"]);
  stop();
  look("hidden");
  window.dispatchEvent(new Event("online"));
  window.dispatchEvent(new Event("offline"));
  vi.advanceTimersByTime(250);
  expect(told).toEqual([]);
});

test("a page that is opened in the background is hidden from the beginning", () => {
  visibility = "hidden";
  listen(link, () => 0)();
  expect(told).toEqual(["hidden"]);
});
