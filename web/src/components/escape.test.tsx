/** One Escape has one effect: who gets it is decided in one place. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { useRef } from "react";
import { afterEach, expect, test } from "vitest";
import { useEscapeCover, useEscapePage, useEscapeWithin } from "./escape";

let done: string[] = [];
afterEach(() => {
  cleanup();
  done = [];
});

function Field({ name, takes = true }: { name: string; takes?: boolean }) {
  const form = useRef<HTMLFormElement>(null);
  useEscapeWithin(form, () => {
    if (takes) done.push(name);
    return takes;
  });
  return (
    <form ref={form}>
      <input aria-label={name} />
      <button type="button">cancel {name}</button>
    </form>
  );
}

function Page({ isCovered = false, takes = true }: { isCovered?: boolean; takes?: boolean }) {
  useEscapePage(() => done.push("page") > 0);
  useEscapeCover(isCovered, () => void done.push("cover"));
  return (
    <>
      <Field name="field" takes={takes} />
      <input aria-label="other" />
      <button type="button">button</button>
    </>
  );
}

const at = (name: string) => screen.queryByLabelText(name) ?? screen.getByText(name);
const press = (name: string, how: object = {}) => fireEvent.keyDown(at(name), { key: "Escape", ...how });

test("a field and its buttons come first, then what covers the page, then the page", () => {
  const { rerender } = render(<Page />);
  press("field");
  press("cancel field");
  press("button");
  expect(done).toEqual(["field", "field", "page"]);
  rerender(<Page isCovered />);
  press("button");
  press("other");
  expect(done.slice(3)).toEqual(["cover", "cover"]);
  rerender(<Page isCovered={false} />);
  press("button");
  expect(done.at(-1)).toBe("page");
});

test("a field with nothing to do hands it on, but never to the page", () => {
  const { rerender } = render(<Page takes={false} />);
  press("field");
  press("other");
  expect(done).toEqual([]);
  rerender(<Page takes={false} isCovered />);
  press("field");
  expect(done).toEqual(["cover"]);
});

test("a dialog that is open keeps it from everybody, and the browser closes it", () => {
  render(
    <>
      <Page isCovered />
      <dialog open>
        <button type="button">inside</button>
      </dialog>
    </>,
  );
  expect(press("inside")).toBe(true);
  expect(press("button")).toBe(true);
  expect(done).toEqual([]);
});

test("compositions, held keys and chords are not handled", () => {
  render(<Page />);
  fireEvent.compositionStart(at("field"));
  press("field");
  fireEvent.compositionEnd(at("field"));
  press("field", { isComposing: true });
  press("field", { keyCode: 229 });
  press("button", { repeat: true });
  press("button", { ctrlKey: true });
  expect(done).toEqual([]);
  press("field");
  expect(done).toEqual(["field"]);
});

test("a handled key is not seen by later listeners", () => {
  render(<Page />);
  const seen = () => void done.push("seen");
  document.addEventListener("keydown", seen);
  expect(press("button")).toBe(false);
  document.removeEventListener("keydown", seen);
  expect(done).toEqual(["page"]);
});

test("no other file reads the key", () => {
  const root = join(import.meta.dirname, "..");
  const files = readdirSync(root, { recursive: true, encoding: "utf8" });
  const reads = /["'`]Escape["'`]|key\w*\s*===?\s*["'`]esc|keyCode\s*===?\s*27/;
  const readers = files.filter(
    (file) =>
      /\.tsx?$/.test(file) &&
      !/\.test\.tsx?$/.test(file) &&
      reads.test(readFileSync(join(root, file), "utf8")),
  );
  expect(readers).toEqual(["components/escape.ts"]);
});
