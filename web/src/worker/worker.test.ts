// @vitest-environment node
/** The service worker answers for the page alone: from the gateway while it is there, from what it kept when not. */
import { beforeEach, expect, test } from "vitest";
import { PATIENCE_MS, type Scope, Worker } from "./worker";

const ORIGIN = "https://chat.example.com";
const INDEX = '<script src="/assets/a-1.js"></script>';
const FILES = ["/assets/a-1.js", "/icon.svg"];

/** The gateway's files; null: it cannot be reached; a promise: it hangs. */
let served: Record<string, string> | null | Promise<never>;
let status: number;
let asked: string[];
let pages: number;
let stores: Map<string, Map<string, Response>>;

const pathOf = (request: RequestInfo) =>
  new URL(typeof request === "string" ? request : request.url, ORIGIN).pathname;

function scope(): Scope {
  const cacheOf = (name: string) => {
    const store = stores.get(name) ?? new Map<string, Response>();
    stores.set(name, store);
    return {
      match: async (path: string) => store.get(path)?.clone(),
      put: async (path: string, response: Response) => void store.set(path, response),
      keys: async () => [...store.keys()],
    };
  };
  return {
    location: { origin: ORIGIN },
    caches: {
      open: async (name: string) => cacheOf(name),
      keys: async () => [...stores.keys()],
      delete: async (name: string) => stores.delete(name),
      match: async (path: string) =>
        [...stores.values()].map((store) => store.get(path)?.clone()).find(Boolean),
    } as unknown as CacheStorage,
    clients: { matchAll: async () => Array(pages).fill({}), claim: async () => undefined },
    fetch: async (request) => {
      asked.push(pathOf(request));
      if (served instanceof Promise) return served;
      if (served === null) throw new TypeError("no network");
      const text = served[pathOf(request)];
      return text === undefined ? new Response("", { status: 404 }) : new Response(text, { status });
    },
    skipWaiting: async () => undefined,
  };
}

const worker = (build = "1", patience = PATIENCE_MS) => new Worker(scope(), FILES, build, patience);
const get = (path: string, mode: RequestMode = "no-cors", method = "GET") => ({
  method,
  mode,
  url: ORIGIN + path,
});
const text = async (answer: Promise<Response> | undefined) => (await answer)?.text();

beforeEach(() => {
  served = { "/": INDEX, "/assets/a-1.js": "a", "/icon.svg": "i" };
  status = 200;
  asked = [];
  pages = 0;
  stores = new Map();
});

test("what the page says to the gateway is never touched", () => {
  const ours = worker();
  for (const path of [
    "/api/config",
    "/api/chat",
    "/api/chats/a",
    "/chat",
    "/v1/models",
    "/livez",
    "/readyz",
    "/health",
  ]) {
    expect(ours.answer(get(path))).toBeUndefined();
    expect(ours.answer(get(path, "navigate"))).toBeUndefined();
  }
  expect(ours.answer(get("/", "navigate", "POST"))).toBeUndefined();
  expect(
    ours.answer({ ...get("/assets/a-1.js"), url: "https://elsewhere.example/assets/a-1.js" }),
  ).toBeUndefined();
  expect(asked).toEqual([]);
});

test("the page comes from the gateway while it is there, and is there when it is not", async () => {
  const ours = worker("1", 20);
  await ours.install();
  served = { "/": "newer" };
  expect(await text(ours.answer(get("/", "navigate")))).toBe("newer");
  served = null;
  expect(await text(ours.answer(get("/", "navigate")))).toBe(INDEX);
  expect(await text(ours.answer(get("/icon.svg")))).toBe("i");
  // nginx found no gateway.
  served = { "/": "503" };
  status = 503;
  expect(await text(ours.answer(get("/", "navigate")))).toBe(INDEX);
  // Only the browser itself asks for a password, where no worker stands between.
  status = 401;
  expect((await ours.answer(get("/", "navigate")))?.headers.get("location")).toBe("/?sign-in");
  expect(ours.answer(get("/?sign-in", "navigate"))).toBeUndefined();
  served = new Promise<never>(() => undefined);
  expect(await text(ours.answer(get("/", "navigate")))).toBe(INDEX);
});

test("hashed files are kept and not asked for again", async () => {
  const ours = worker();
  await ours.install();
  asked = [];
  expect(await text(ours.answer(get("/assets/a-1.js")))).toBe("a");
  expect(asked).toEqual([]);
  served = { "/assets/font.woff2": "f" };
  expect(await text(ours.answer(get("/assets/font.woff2")))).toBe("f");
  expect(await text(ours.answer(get("/assets/font.woff2")))).toBe("f");
  expect(asked).toEqual(["/assets/font.woff2"]);
  // What is not there is not kept either.
  await ours.answer(get("/assets/none.js"));
  await ours.answer(get("/assets/none.js"));
  expect(asked).toHaveLength(3);
});

test("a release that is only partly there is not kept", async () => {
  served = { "/": INDEX, "/icon.svg": "i" };
  await expect(worker().install()).rejects.toThrow("404");
  expect(stores.get("tidegate-page-1")?.has("/")).toBe(false);
  // Another gateway answered, of another release.
  served = { "/": '<script src="/assets/b-2.js"></script>', "/assets/a-1.js": "a", "/icon.svg": "i" };
  await expect(worker().install()).rejects.toThrow("/assets/b-2.js is of another release");
  expect(stores.get("tidegate-page-1")?.has("/")).toBe(false);
});

test("older releases go when no page can want them, and never more than two stay", async () => {
  for (const build of ["1", "2", "3", "4"]) await worker(build).install();
  stores.set("another program's", new Map());
  pages = 2;
  await worker("4").activate();
  expect([...stores.keys()]).toEqual([
    "tidegate-page-2",
    "tidegate-page-3",
    "tidegate-page-4",
    "another program's",
  ]);
  // An open page still finds its parts.
  stores.get("tidegate-page-3")?.set("/assets/old.js", new Response("old"));
  expect(await text(worker("4").answer(get("/assets/old.js")))).toBe("old");
  await worker("4").tidy(1);
  expect(stores.size).toBe(4);
  pages = 1;
  await worker("4").tidy(1);
  expect([...stores.keys()]).toEqual(["tidegate-page-4", "another program's"]);
});
