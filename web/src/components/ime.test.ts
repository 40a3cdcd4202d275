/** Every order in which input methods report the Enter that ends a word. */
import { describe, expect, it } from "vitest";
import { ImeGuard, type KeyLike } from "./ime";

const enter = (change: Partial<KeyLike> = {}): KeyLike => ({
  key: "Enter",
  keyCode: 13,
  shiftKey: false,
  ctrlKey: false,
  metaKey: false,
  altKey: false,
  isComposing: false,
  ...change,
});

describe("Enter", () => {
  it("sends where nothing is being composed", () => {
    expect(new ImeGuard().isEnter(enter(), 0)).toBe(true);
    expect(new ImeGuard().isEnter(enter({ key: "a" }), 0)).toBe(false);
  });

  it("belongs to the word while it is composed, as Chromium and Firefox report it", () => {
    const guard = new ImeGuard();
    guard.start();
    expect(guard.isEnter(enter({ keyCode: 229, isComposing: true }), 10)).toBe(false);
    guard.end(11);
    expect(guard.isEnter(enter(), 12)).toBe(true);
  });

  it("belongs to the word where the browser does not say that it composes", () => {
    const guard = new ImeGuard();
    guard.start();
    expect(guard.isEnter(enter(), 10)).toBe(false);
  });

  it("belongs to the word in Safari, which ends the word first", () => {
    const guard = new ImeGuard();
    guard.start();
    guard.end(100);
    expect(guard.isEnter(enter({ keyCode: 229 }), 105)).toBe(false);
  });

  it("sends although it calls itself 229, once the word has long ended", () => {
    const guard = new ImeGuard();
    guard.start();
    guard.end(100);
    expect(guard.isEnter(enter({ keyCode: 229 }), 400)).toBe(true);
  });

  it("sends at once after a word that ended otherwise", () => {
    const guard = new ImeGuard();
    guard.start();
    guard.end(100);
    expect(guard.isEnter(enter(), 101)).toBe(true);
  });

  it("sends after the field was left in the middle of a word", () => {
    const guard = new ImeGuard();
    guard.start();
    guard.blur();
    expect(guard.isEnter(enter(), 10)).toBe(true);
  });
});
