/** Storage that is full, blocked, damaged or from another version: the page works without it. Fault 126. */
import assert from "node:assert/strict";
import { answered, articles, asked, composer, open, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { test } from "../harness/registry.mjs";

async function talks(page) {
  const before = await articles(page).count();
  await say(page, "hello");
  await until(
    "an answer",
    async () =>
      (await page.locator('article[data-role="assistant"][data-outcome="done"]').count()) > before / 2,
  );
}

const BLOCKS = {
  "IndexedDB is denied": () => {
    Object.defineProperty(globalThis, "indexedDB", {
      get: () => {
        throw new DOMException("denied", "SecurityError");
      },
    });
  },
  "IndexedDB is missing": () => {
    Object.defineProperty(globalThis, "indexedDB", { value: undefined });
  },
  "IndexedDB never opens": () => {
    IDBFactory.prototype.open = () => {
      throw new DOMException("a mutation was not allowed", "InvalidStateError");
    };
  },
  "localStorage is denied": () => {
    Object.defineProperty(globalThis, "localStorage", {
      get: () => {
        throw new DOMException("denied", "SecurityError");
      },
    });
  },
  "localStorage is full": () => {
    Storage.prototype.setItem = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
  },
  "no BroadcastChannel": () => {
    globalThis.BroadcastChannel = undefined;
  },
  "nothing of a secure page": () => {
    for (const name of ["clipboard", "locks", "serviceWorker", "storage"]) {
      Object.defineProperty(Navigator.prototype, name, { get: () => undefined });
    }
    Crypto.prototype.randomUUID = undefined;
  },
};

for (const [name, block] of Object.entries(BLOCKS)) {
  // faults: J126
  test(`storage: ${name}`, { goal: "J126" }, async (t) => {
    const stack = await t.stack();
    const context = await t.context(stack);
    await context.addInitScript(block);
    const page = await context.newPage();
    await open(page, stack);
    await talks(page);
    await talks(page);
    if (name.startsWith("IndexedDB")) await page.getByText(/does not let the page store/).waitFor();
    await page.reload();
    await page.waitForSelector("html[data-ready]");
    await talks(page);
  });
}

// faults: J126
test("storage: the disk is full", { goal: "J126" }, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  await open(page, stack);
  await talks(page);
  // Chromium's own switch for a quota does not reach the storage of a fresh profile.
  await page.evaluate(() => {
    const put = IDBObjectStore.prototype.put;
    IDBObjectStore.prototype.put = function (...args) {
      if (!globalThis.isRoom) throw new DOMException("the disk is full", "QuotaExceededError");
      return put.apply(this, args);
    };
  });
  await say(page, "/sim tokens=4000 pace_ms=0.2");
  await answered(page, { count: 2 });
  await page.getByText(/storage is full/).waitFor();
  await say(page, "what now?");
  await answered(page, { count: 3 });
  assert.equal(await asked(page).count(), 3, "it is all still there");
  // There is room again: what was only in memory is stored with the next word.
  await page.evaluate(() => {
    globalThis.isRoom = true;
  });
  await say(page, "and now?");
  await answered(page, { count: 4 });
  await page.reload();
  await until("all four", async () => (await asked(page).count()) === 4);
});

/** Puts values into the page's own database, as it was before this version or after a crash. */
async function fill(page, stack, values, { version, store = "conversations" } = {}) {
  await page.route("**/empty-page", (route) => route.fulfill({ contentType: "text/html", body: "" }));
  await page.goto(`${stack.url}/empty-page`);
  await page.evaluate(
    ([values, version, store]) =>
      new Promise((resolve, reject) => {
        const opening = indexedDB.open("tidegate", version ?? undefined);
        opening.onupgradeneeded = () => opening.result.createObjectStore(store);
        opening.onerror = () => reject(opening.error);
        opening.onsuccess = () => {
          const change = opening.result.transaction(store, "readwrite");
          for (const [key, value] of values) change.objectStore(store).put(value, key);
          change.oncomplete = () => {
            opening.result.close();
            resolve();
          };
          change.onerror = () => reject(change.error);
        };
      }),
    [values, version, store],
  );
}

const DAMAGED = {
  "the list is a word": [[["heads", "garbage"]]],
  "the list has odd entries": [
    [["heads", [null, 5, { id: 7 }, { id: "a" }, { id: "b", title: null, updated: "x" }]]],
  ],
  "conversations are garbage": [
    [
      [
        "heads",
        [
          { id: "x", title: "X", updated: 1, created: 1 },
          { id: "y", title: "Y", updated: 2, created: 1 },
        ],
      ],
      ["c:x", { version: 1, value: { messages: 5 } }],
      ["c:y", "nothing"],
    ],
  ],
  "of a newer version": [
    [
      ["heads", [{ id: "x", title: "X", updated: 1, created: 1 }]],
      ["c:x", { version: 99, value: { id: "x" } }],
    ],
  ],
  "messages go round in a circle": [
    [
      ["heads", [{ id: "x", title: "X", titled: false, updated: 1, created: 1 }]],
      [
        "c:x",
        {
          version: 1,
          value: {
            id: "x",
            title: "X",
            titled: false,
            created: 1,
            updated: 1,
            system: "",
            epoch: 0,
            chosen: { "": "u", u: "a", a: "u" },
            messages: {
              u: { role: "user", id: "u", parent: "a", text: "hm", created: 1, delivery: "accepted" },
              a: {
                role: "assistant",
                id: "a",
                parent: "u",
                text: "ho",
                reasoning: "",
                created: 1,
                outcome: "done",
              },
            },
          },
        },
      ],
    ],
  ],
  "the database has another shape": [[["k", 1]], { store: "something" }],
  "the database is of a later version": [[["heads", []]], { version: 40 }],
};

for (const [name, [values, how]] of Object.entries(DAMAGED)) {
  // faults: J126
  test(`storage: ${name}`, { goal: "J126" }, async (t) => {
    const stack = await t.stack();
    const page = await t.page(stack);
    await fill(page, stack, values, how);
    await page.evaluate(() => {
      localStorage.setItem("tidegate.settings", '{"theme":7,"language":"klingon"');
      localStorage.setItem("tidegate.draft.x", "\u0000");
    });
    await open(page, stack);
    // Whatever can be opened is opened, without an end of the page.
    const items = page.getByRole("navigation", { name: "Conversations" }).getByRole("listitem");
    for (let k = 0; k < Math.min(3, await items.count()); k++) {
      await items.nth(k).getByRole("button").or(items.nth(k).getByRole("link")).first().click();
      await composer(page).waitFor();
    }
    await page.getByRole("button", { name: "New chat" }).first().click();
    await talks(page);
  });
}
