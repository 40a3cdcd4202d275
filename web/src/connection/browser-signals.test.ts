/** Browser events reach the connection, and none does after it stopped listening. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { listen } from "./browser-signals";

let visibility = "visible";
const calls: string[] = [];
const link = {
  wake: () => void calls.push("wake"),
  offline: () => void calls.push("offline"),
  setVisible: (isVisible: boolean) => void calls.push(isVisible ? "seen" : "hidden"),
};

beforeEach(() => {
  vi.useFakeTimers();
  calls.length = 0;
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

test("back, shown or thawed it asks within a quarter of a second; offline and hidden are reported at once", () => {
  const stop = listen(link, () => 0.9);
  expect(calls.splice(0)).toEqual(["seen"]);
  for (const event of ["online", "pageshow"]) {
    window.dispatchEvent(new Event(event));
    expect(calls).toEqual([]);
    vi.advanceTimersByTime(250);
    expect(calls.splice(0)).toEqual(["wake"]);
  }
  look("hidden");
  vi.advanceTimersByTime(250);
  expect(calls.splice(0)).toEqual(["hidden"]);
  look("visible");
  document.dispatchEvent(new Event("resume"));
  vi.advanceTimersByTime(250);
  expect(calls.splice(0)).toEqual(["seen", "wake"]);
  // The wish of a moment ago is overtaken.
  window.dispatchEvent(new Event("online"));
  window.dispatchEvent(new Event("offline"));
  vi.advanceTimersByTime(250);
  expect(calls.splice(0)).toEqual(["offline"]);
  stop();
  look("hidden");
  window.dispatchEvent(new Event("online"));
  window.dispatchEvent(new Event("offline"));
  vi.advanceTimersByTime(250);
  expect(calls).toEqual([]);
});

test("a page that is opened in the background is hidden from the beginning", () => {
  visibility = "hidden";
  listen(link, () => 0)();
  expect(calls).toEqual(["hidden"]);
});
