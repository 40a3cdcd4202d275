/** Files are refused in words; text is left alone. */
import { act, cleanup, fireEvent, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { draw, fakeStore } from "../../testing/fake-store";
import { FilesNote, NOTE_MS } from "./files-note";

const SENTENCE = /cannot take files/;

beforeEach(() => {
  vi.useFakeTimers();
  draw(fakeStore(), <FilesNote />);
});
afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

it("says that a pasted file is not taken, for a while", () => {
  fireEvent.paste(window, { clipboardData: { types: ["Files"] } });
  expect(screen.getByRole("status").textContent).toMatch(SENTENCE);
  act(() => void vi.advanceTimersByTime(NOTE_MS));
  expect(screen.getByRole("status").textContent).toBe("");
});

it("keeps the page when a file is dropped on it, and says why nothing happens", () => {
  // False: the browser's own way with it was prevented.
  expect(fireEvent.dragOver(window, { dataTransfer: { types: ["Files"] } })).toBe(false);
  expect(fireEvent.drop(window, { dataTransfer: { types: ["Files"] } })).toBe(false);
  expect(screen.getByRole("status").textContent).toMatch(SENTENCE);
});

it("leaves text alone, also text that comes with a picture of itself", () => {
  expect(fireEvent.paste(window, { clipboardData: { types: ["text/plain"] } })).toBe(true);
  expect(fireEvent.paste(window, { clipboardData: { types: ["text/plain", "Files"] } })).toBe(true);
  expect(fireEvent.drop(window, { dataTransfer: { types: ["text/plain"] } })).toBe(true);
  expect(screen.getByRole("status").textContent).toBe("");
});
