/** The model's picker and the thinking switch in the composer, and the note about models above it. */
import { cleanup, fireEvent, screen, waitFor, within } from "@testing-library/react";
import { afterEach, beforeAll, expect, test } from "vitest";
import { readConfig } from "../../chat/page-config";
import { conversation, draw, fakeStore, put } from "../../testing/fake-store";
import { ChoiceNote } from "./choice-note";
import { ChoiceTools } from "./choice-tools";

const FREE = {
  id: "free",
  title: "Free",
  parameters: {
    temperature: { min: 0, max: 2 },
    top_p: { min: 0, max: 1 },
    max_tokens: { max: 100 },
    thinking: ["on", "off"],
  },
};
const config = (...models: unknown[]) => readConfig({ models });
const PLAIN = { id: "qwen3", title: "Qwen 3", default: true, parameters: {} };

const opened = (models: unknown[], choice = {}) =>
  fakeStore({ config: config(...models), open: { c: { ...conversation(), choice } } });

afterEach(cleanup);

beforeAll(() => {
  // jsdom has no popovers: open at once.
  HTMLElement.prototype.hidePopover = () => undefined;
  HTMLElement.prototype.scrollIntoView = () => undefined;
});

/** Opens the panel, as the browser does for a popover's button. */
async function openPanel(name: RegExp) {
  const button = screen.getByRole("button", { name });
  fireEvent.focus(button);
  const box = document.getElementById(button.getAttribute("popovertarget") ?? "") as HTMLElement;
  const event = new Event("toggle") as Event & { newState: string };
  event.newState = "open";
  fireEvent(box, event);
  await waitFor(() => expect(box.childElementCount).toBe(1));
  return within(box);
}

test("one model without parameters has no picker", () => {
  draw(opened([PLAIN]), <ChoiceTools conversation="c" />);
  expect(screen.queryByRole("button")).toBeNull();
});

test("another model is chosen for this conversation", async () => {
  const store = opened([PLAIN, FREE]);
  draw(store, <ChoiceTools conversation="c" />);
  const panel = await openPanel(/^Model: Qwen 3$/);
  expect((panel.getByRole("radio", { hidden: true, name: "Qwen 3" }) as HTMLInputElement).checked).toBe(true);
  fireEvent.click(panel.getByRole("radio", { hidden: true, name: "Free" }), { detail: 1 });
  expect(store.done).toContainEqual(["setChoice", "c", { model: "free" }]);
  expect(store.done).toContainEqual(["renewOffer"]);
});

test("what the operator allows can be set, and taken back", async () => {
  const store = opened([PLAIN, FREE], { model: "free", temperature: 1.5 });
  draw(store, <ChoiceTools conversation="c" />);
  const panel = await openPanel(/^Model: Free$/);
  expect(panel.getByText("1.5")).toBeTruthy();
  fireEvent.change(panel.getByRole("slider", { hidden: true, name: "Temperature" }), {
    target: { value: "0.3" },
  });
  expect(store.done.at(-1)).toEqual(["setChoice", "c", { model: "free", temperature: 0.3 }]);
  fireEvent.click(panel.getByRole("button", { hidden: true, name: "Automatic" }));
  expect(store.done.at(-1)).toEqual(["setChoice", "c", { model: "free" }]);
  fireEvent.change(panel.getByRole("spinbutton", { hidden: true }), { target: { value: "400" } });
  expect(store.done.at(-1)).toEqual(["setChoice", "c", { model: "free", temperature: 1.5, maxTokens: 100 }]);
  fireEvent.click(panel.getByRole("radio", { hidden: true, name: "Off" }));
  expect(store.done.at(-1)).toEqual(["setChoice", "c", { model: "free", temperature: 1.5, thinking: false }]);
});

test("among many models one is found by a part of its name", async () => {
  const many = Array.from({ length: 256 }, (_, at) => ({ id: `m${at}` }));
  draw(opened(many), <ChoiceTools conversation="c" />);
  const panel = await openPanel(/^Model: m0$/);
  expect(panel.getAllByRole("radio", { hidden: true }).length).toBe(256);
  fireEvent.change(panel.getByRole("searchbox", { hidden: true }), { target: { value: "M25" } });
  expect(panel.getAllByRole("radio", { hidden: true }).length).toBe(7);
  fireEvent.change(panel.getByRole("searchbox", { hidden: true }), { target: { value: "llama" } });
  expect(panel.getByText("Nothing found.")).toBeTruthy();
});

test("thinking is switched beside the box", () => {
  const store = opened([{ ...FREE, parameters: { thinking: ["on", "off"] } }]);
  draw(store, <ChoiceTools conversation="c" />);
  const button = screen.getByRole("button", { name: "Thinking" });
  expect(button.getAttribute("aria-pressed")).toBe("false");
  fireEvent.click(button);
  expect(store.done.at(-1)).toEqual(["setChoice", "c", { thinking: true }]);
  put(store, { open: { c: { ...conversation(), choice: { thinking: true } } } });
  expect(button.getAttribute("aria-pressed")).toBe("true");
  fireEvent.click(button);
  expect(store.done.at(-1)).toEqual(["setChoice", "c", { thinking: false }]);
});

test("a model that is gone, and a service without models, are reported", () => {
  const store = opened([PLAIN, FREE], { model: "llama3" });
  draw(store, <ChoiceNote conversation="c" />);
  expect(screen.getByRole("status").textContent).toBe("llama3 is not offered any more; Qwen 3 answers.");
  put(store, { config: config() });
  expect(screen.getByRole("status").textContent).toBe("The model service does not answer yet.");
  put(store, { config: config(PLAIN), open: { c: conversation() } });
  expect(screen.getByRole("status").textContent).toBe("");
});

test("the note is in Chinese too", () => {
  draw(opened([PLAIN], { model: "llama3" }), <ChoiceNote conversation="c" />, "zh");
  expect(screen.getByRole("status").textContent).toBe("llama3 已不再提供，改由 Qwen 3 回答。");
});
