/** An answer that did not end well offers one action, and says what happened. */
import { cleanup, fireEvent, screen } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { PageConfig } from "../../chat/contract";
import type { AssistantMessage } from "../../chat/model";
import { REMEDIES } from "../../chat/remedy";
import { answer, conversation, draw, fakeStore, question } from "../../testing/fake-store";
import { AnswerView } from "./answer";

afterEach(cleanup);

function show(change: Partial<AssistantMessage>, language: "en" | "zh" = "en") {
  const message = answer({ serverId: "msg-2a-1", model: "qwen-plus", ...change });
  const store = fakeStore({ open: { c: conversation(question(), message) } });
  const onEdit = vi.fn();
  const shown = { id: "a", index: 0, siblings: ["a"] };
  draw(
    store,
    <AnswerView conversation="c" answer={message} shown={shown} onEdit={onEdit} onAsk={() => {}} />,
    language,
  );
  return { store, onEdit };
}

const failed = (code: string, change: Partial<AssistantMessage> = {}): Partial<AssistantMessage> => ({
  outcome: "failed",
  fault: { code, text: "", retryable: false },
  ...change,
});
/** All that could be pressed, but for copying. */
const buttons = () =>
  screen
    .getAllByRole("button")
    .map((button) => button.getAttribute("aria-label") ?? button.textContent)
    .filter((name) => !name?.startsWith("Copy"));

describe("an answer that failed", () => {
  it.each(Object.entries(REMEDIES))("offers what helps, and nothing beside it: %s, %s", (code, remedy) => {
    show(failed(code, { text: "The sea" }));
    const wanted = { retry: ["Try again"], edit: ["Edit the message"], none: [] }[remedy];
    expect(buttons()).toEqual(wanted);
  });

  it("is made again beside what it has, or in the place of nothing", () => {
    const { store } = show(failed("interrupted", { text: "The sea" }));
    fireEvent.click(screen.getByRole("button", { name: "Try again" }));
    expect(store.done).toEqual([["regenerate", "c", "a"]]);
    cleanup();
    const { store: other } = show(failed("draining"));
    fireEvent.click(screen.getByRole("button", { name: "Try again" }));
    expect(other.done).toEqual([["resend", "c", "u"]]);
  });

  it("lets the message be edited where it was refused", () => {
    const { onEdit } = show(failed("input_refused"));
    fireEvent.click(screen.getByRole("button", { name: "Edit the message" }));
    expect(onEdit).toHaveBeenCalledWith("u");
  });

  it("has details that can be copied", async () => {
    const fault = { code: "interrupted", text: "", retryable: true, run: "2a-1", serviceRequest: "7c9e" };
    show({ outcome: "failed", fault });
    const copied: string[] = [];
    vi.stubGlobal("isSecureContext", true);
    Object.defineProperty(navigator, "clipboard", {
      configurable: true,
      value: { writeText: async (text: string) => void copied.push(text) },
    });
    fireEvent.click(screen.getByText("Details"));
    fireEvent.click(screen.getByRole("button", { name: "Copy details" }));
    await vi.waitFor(() => expect(copied).toHaveLength(1));
    expect(copied[0]).toBe(
      "code: interrupted\nrun: 2a-1\nserviceRequest: 7c9e\nmodel: qwen-plus\nasked: 1970-01-01T00:00:00.002Z",
    );
    vi.unstubAllGlobals();
  });

  it("takes its run from its id if the gateway did not send one, also in Chinese", () => {
    show(failed("interrupted"), "zh");
    expect(screen.getByText("2a-1")).toBeTruthy();
    expect(screen.getByRole("button", { name: "重试" })).toBeTruthy();
    expect(screen.getByText("运行编号")).toBeTruthy();
  });
});

describe("its usage", () => {
  const figures = { usage: { output_tokens: 12 }, firstTokenMs: 400, durationMs: 1400 };

  it.each([
    ["stopped", { outcome: "stopped", text: "The sea" }],
    ["failed", failed("interrupted", { text: "The sea" })],
  ] as const)("is shown under one that was %s, too", (_, change) => {
    show({ ...change, ...figures });
    const line = document.querySelector('[data-part="usage"]');
    const text = line?.textContent?.replaceAll("\u00a0", " ");
    expect(text).toBe("qwen-plus · 0.4s to first word · 12 tokens/s · 12 tokens");
  });
});

it("says nothing of a time that was too short to be measured", () => {
  show({ outcome: "stopped", text: "The sea", firstTokenMs: 0, usage: { output_tokens: 12 } });
  const line = document.querySelector('[data-part="usage"]');
  expect(line?.textContent?.replaceAll("\u00a0", " ")).toBe("qwen-plus · 12 tokens");
});

it("an answer that was stopped is made again by one button", () => {
  show({ outcome: "stopped", text: "The sea" });
  expect(buttons()).toEqual(["Regenerate"]);
});

it("an answer that is followed elsewhere can be followed here, and is not made again", () => {
  show({ outcome: "streaming", takenOver: true, text: "The sea" });
  expect(buttons()).toEqual(["Follow here"]);
});

it("an answer that broke off is continued by its model, and by no other", () => {
  const broken = { outcome: "done", finishReason: "length", text: "The sea" } as const;
  const asked = { chat: "c", trigger: "submit-message" } as const;
  const message = answer({ serverId: "msg-2a-1", model: "qwen-plus", asked, ...broken });
  const open = { ...conversation(question(), message), remembered: [["u", "a"]] as [string, string][] };
  const shown = { id: "a", index: 0, siblings: ["a"] };
  const draws = (continues: boolean) => {
    const store = fakeStore({ open: { c: open }, config: configOf(continues) });
    const view = (
      <AnswerView conversation="c" answer={message} shown={shown} onEdit={() => {}} onAsk={() => {}} />
    );
    draw(store, view);
    return store;
  };
  draws(false);
  expect(buttons()).toEqual(["Regenerate"]);
  cleanup();
  const store = draws(true);
  fireEvent.click(screen.getByRole("button", { name: "Continue" }));
  expect(store.done).toEqual([["goOn", "c", "a"]]);
});

function configOf(continues: boolean) {
  const models = [
    { id: "qwen-plus", title: "Qwen", isDefault: true, ...(continues ? { continues: true as const } : {}) },
  ];
  return { models } as unknown as PageConfig;
}
