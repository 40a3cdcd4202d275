/** Status of the connection, notice of a newer page, and announcements for screen readers. */
import { act, cleanup, fireEvent, screen } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { readConfig } from "../../chat/page-config";
import type { LinkState } from "../../connection/link";
import { answer, conversation, draw, fakeStore, put, question } from "../../testing/fake-store";
import { Announcer } from "./announcer";
import { ConnectionBanner, ConnectionDot } from "./connection";
import { VersionNote } from "./notes";

beforeEach(() => void vi.useFakeTimers({ now: 1_000_000 }));
afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

const WAITING: LinkState = { kind: "waiting", until: 1_008_000, attempt: 3, cause: "restart" };

describe("the banner", () => {
  const banner = () => screen.getByTestId("connection");

  it("is silent before it is worth saying", () => {
    draw(fakeStore({ link: WAITING, linkTroubled: false }), <ConnectionBanner />);
    expect(banner().textContent).toBe("");
  });

  it("shows the cause, counts down, and retries on demand", () => {
    const store = fakeStore({ link: WAITING, linkTroubled: true });
    draw(store, <ConnectionBanner />);
    expect(banner().textContent).toMatch(/The service is restarting.*Next attempt in 8 s/);
    act(() => void vi.advanceTimersByTime(3000));
    expect(banner().textContent).toMatch(/in 5 s/);
    fireEvent.click(screen.getByRole("button", { name: "Try now" }));
    expect(store.done).toEqual([["reconnect"]]);
  });

  it("goes when the socket is back", () => {
    const store = fakeStore({ link: WAITING, linkTroubled: true });
    draw(store, <ConnectionBanner />);
    put(store, { link: { kind: "live" } });
    expect(banner().textContent).toBe("");
  });

  it("promises of an answer that was being written only what it can keep", () => {
    const writing = { a: answer({ outcome: "streaming" }) };
    const store = fakeStore({ link: { kind: "offline" }, linkTroubled: true, writing });
    draw(store, <ConnectionBanner />);
    expect(banner().textContent).toMatch(/You are offline.*What you see is kept; the rest may follow/);
    // Its own socket is there: only what is new has to wait.
    put(store, { link: WAITING, linkLeaving: true });
    expect(banner().textContent).toMatch(/restarting.*A running answer goes on/);
    // Nothing is sent before the user signs in.
    put(store, { link: { kind: "refused", cause: "refused" }, linkLeaving: false });
    expect(banner().textContent).not.toMatch(/kept|sent|goes on/);
  });

  it("says that the service does not answer while its socket is still there, and counts down", () => {
    const store = fakeStore({ link: { kind: "live", doubted: 1_005_000 }, linkTroubled: true });
    draw(store, <ConnectionBanner />);
    expect(banner().textContent).toMatch(/The service does not answer.*New connection in 5 s/);
    fireEvent.click(screen.getByRole("button", { name: "Try now" }));
    expect(store.done).toEqual([["reconnect"]]);
    put(store, { link: { kind: "live" }, linkTroubled: false });
    expect(banner().textContent).toBe("");
  });

  it("speaks Chinese", () => {
    draw(fakeStore({ link: WAITING, linkTroubled: true }), <ConnectionBanner />, "zh");
    expect(banner().textContent).toMatch(/服务正在重启.*8 秒后重试/);
  });
});

describe("the dot", () => {
  const dot = () => screen.getByTestId("connection-dot");

  it.each<[LinkState, boolean, string, string]>([
    [{ kind: "live" }, false, "live", "Connected"],
    [{ kind: "live", doubted: 1 }, true, "bad", "The service does not answer."],
    [{ kind: "offline" }, false, "bad", "Offline"],
    [WAITING, false, "soon", "The service is restarting."],
    [WAITING, true, "bad", "The service is restarting."],
    [{ kind: "connecting", attempt: 0 }, false, "soon", "Connecting…"],
    [
      { kind: "connecting", attempt: 2, cause: "silent" },
      true,
      "bad",
      "The service does not answer. Connecting…",
    ],
  ])("says of %j what is so", (link, linkTroubled, state, label) => {
    draw(fakeStore({ link, linkTroubled }), <ConnectionDot />);
    expect(dot().dataset.state).toBe(state);
    expect(dot().getAttribute("aria-label")).toBe(label);
  });
});

describe("the note of a new version", () => {
  const config = (build: string) => readConfig({ page: { build } });

  it("comes when the gateway serves another page than at the beginning", () => {
    const store = fakeStore();
    draw(store, <VersionNote />);
    put(store, { config: config("one") });
    put(store, { config: config("one") });
    expect(screen.queryByTestId("new-version")).toBeNull();
    put(store, { config: config("two") });
    expect(screen.getByRole("button", { name: "Reload" })).toBeTruthy();
  });

  it("is not shown if the gateway does not send it", () => {
    const store = fakeStore({ config: config("one") });
    draw(store, <VersionNote />);
    put(store, { config: readConfig({}) });
    expect(screen.queryByTestId("new-version")).toBeNull();
  });
});

describe("a screen reader", () => {
  const polite = () => screen.getByTestId("announcer").textContent?.trim();

  it("hears the boundaries, never a word of the answer, and not too often", async () => {
    const store = fakeStore({ open: { c: conversation() } });
    draw(store, <Announcer conversation="c" />);
    put(store, { open: { c: conversation(question(), answer()) } });
    expect(polite()).toBe("Sent.");
    const announced: string[] = [];
    const watch = new MutationObserver(() => announced.push(polite() ?? ""));
    watch.observe(screen.getByTestId("announcer"), { childList: true, subtree: true, characterData: true });
    let text = "";
    for (let second = 0; second < 30; second++) {
      text += "secret word ";
      put(store, { writing: { a: answer({ text, outcome: "streaming" }) } });
      await act(() => vi.advanceTimersByTimeAsync(1000));
    }
    const done = answer({ text, outcome: "done" });
    put(store, { writing: {}, open: { c: conversation(question(), done) } });
    await act(() => vi.advanceTimersByTimeAsync(0));
    watch.disconnect();
    expect(polite()).toBe("The answer is complete, 60 words.");
    expect(announced.join(" ")).not.toMatch(/secret/);
    expect(announced[0]).toBe("Answering.");
    expect(announced.length).toBeLessThanOrEqual(2 + 30 / 5);
  });

  it("hears once that the model is still waited for, however often it falls silent", async () => {
    const store = fakeStore({ open: { c: conversation() } });
    draw(store, <Announcer conversation="c" />);
    put(store, { open: { c: conversation(question(), answer()) } });
    const announced: string[] = [];
    const watch = new MutationObserver(() => announced.push(polite() ?? ""));
    watch.observe(screen.getByTestId("announcer"), { childList: true, subtree: true, characterData: true });
    await act(() => vi.advanceTimersByTimeAsync(4_900));
    expect(announced).toEqual([]);
    await act(() => vi.advanceTimersByTimeAsync(200));
    expect(polite()).toBe("Still waiting for the model.");
    await act(() => vi.advanceTimersByTimeAsync(60_000));
    expect(announced).toEqual(["Still waiting for the model."]);
    put(store, { writing: { a: answer({ text: "The moon", outcome: "streaming" }) } });
    for (let second = 0; second < 60; second++) await act(() => vi.advanceTimersByTimeAsync(1_000));
    watch.disconnect();
    expect(announced).toEqual(["Still waiting for the model.", "Answering."]);
  });

  it("is alarmed by a failure alone", () => {
    const store = fakeStore({ open: { c: conversation(question(), answer()) } });
    draw(store, <Announcer conversation="c" />);
    expect(screen.getByTestId("alerts").textContent).toBe("");
    const fault = { code: "overloaded", text: "", retryable: true };
    put(store, { open: { c: conversation(question(), answer({ outcome: "failed", fault })) } });
    expect(screen.getByTestId("alerts").textContent).toMatch(/busy/);
  });

  it("hears nothing of what was there before", () => {
    draw(
      fakeStore({ open: { c: conversation(question(), answer({ text: "x", outcome: "done" })) } }),
      <Announcer conversation="c" />,
    );
    expect(polite()).toBe("");
  });
});
