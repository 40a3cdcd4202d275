/** The worker is registered where it helps, and only there. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ChatStore } from "../chat/contract";
import { PREFIX, TIDY } from "../worker/worker";
import { keepOffline } from "./offline";

const registration = { active: { postMessage: vi.fn(), scriptURL: "http://x/sw.js" }, unregister: vi.fn() };
const foreign = { active: { scriptURL: "http://x/other.js" }, unregister: vi.fn() };
const container = {
  register: vi.fn(async () => registration),
  getRegistrations: vi.fn(async () => [registration, foreign]),
} as unknown as ServiceWorkerContainer;
const deleted: string[] = [];

/** A gateway that answers so. */
function store(simulated?: boolean) {
  let config = simulated === undefined ? null : ({ simulated } as ChatStore["config"]);
  let changed = () => {};
  return {
    getState: () => ({ config }),
    subscribe: (listener: () => void) => {
      changed = listener;
      return () => {};
    },
    notify: (now: boolean) => {
      config = { simulated: now } as ChatStore["config"];
      changed();
    },
  };
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("isSecureContext", true);
  vi.stubGlobal("caches", {
    keys: async () => [`${PREFIX}1`, "another"],
    delete: async (name: string) => deleted.push(name),
  });
  deleted.length = 0;
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.clearAllMocks();
});

test("it is registered once a real gateway has answered", async () => {
  const one = store();
  keepOffline(one, container);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(container.register).not.toHaveBeenCalled();
  one.notify(false);
  one.notify(false);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(container.register).toHaveBeenCalledExactlyOnceWith("/sw.js", { updateViaCache: "none" });
  expect(registration.active.postMessage).toHaveBeenCalledWith(TIDY);
});

test("where answers are made up there is none, and one that was left behind goes", async () => {
  keepOffline(store(true), container);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(container.register).not.toHaveBeenCalled();
  expect(registration.unregister).toHaveBeenCalledOnce();
  expect(foreign.unregister).not.toHaveBeenCalled();
  expect(deleted).toEqual([`${PREFIX}1`]);
});

test("the address that was for signing in is left", () => {
  window.history.replaceState(null, "", "/?sign-in#/c/c-1");
  keepOffline(store(), container);
  expect(window.location.pathname + window.location.search + window.location.hash).toBe("/#/c/c-1");
});

test("a policy of its own that a proxy sends does not stop the page", async () => {
  vi.resetModules();
  vi.stubGlobal("trustedTypes", {
    createPolicy: () => {
      throw new TypeError('Policy "tidegate" disallowed.');
    },
  });
  const { keepOffline: anew } = await import("./offline");
  const refusing = {
    ...container,
    register: vi.fn(async () => Promise.reject(new TypeError("no TrustedScriptURL"))),
  };
  anew(store(false), refusing as unknown as ServiceWorkerContainer);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(refusing.register).toHaveBeenCalledOnce();
});

test("where there are no workers nothing is tried", async () => {
  keepOffline(store(false), undefined);
  vi.stubGlobal("isSecureContext", false);
  keepOffline(store(false), container);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(container.register).not.toHaveBeenCalled();
});
