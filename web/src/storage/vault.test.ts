/** Storage that is full, blocked, damaged or of another version never stops the page. */
import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { createStore, get, set } from "idb-keyval";
import { beforeEach, expect, test, vi } from "vitest";
import { headOf, readConversation } from "../chat/check";
import type { Conversation } from "../chat/model";
import { emptyConversation, submit } from "../chat/turns";
import { openVault, type VaultState } from "./vault";

let states: VaultState[] = [];
const open = () =>
  openVault("t", { conversation: readConversation, head: headOf }, (state) => states.push(state));
const talk = (id: string, text: string): Conversation => {
  let n = 0;
  return submit(emptyConversation(id, 1), text, 2, (prefix) => {
    n += 1;
    return `${prefix}-${id}-${n}`;
  }).conversation;
};
const save = (vault: ReturnType<typeof open>, one: Conversation) => vault.save(headOf(one), one);

beforeEach(() => {
  states = [];
  globalThis.indexedDB = new IDBFactory();
});

test("what was stored is read again by another page", async () => {
  const one = talk("c-1", "tide");
  await save(open(), one);
  expect(await open().load("c-1")).toEqual(one);
  expect(await open().heads()).toMatchObject([{ id: "c-1", title: "tide", pending: true }]);
});

test("a full disk is reported, and the conversation stays in memory", async () => {
  const vault = open();
  vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(() => {
    throw new DOMException("no room", "QuotaExceededError");
  });
  const one = talk("c-1", "tide");
  await save(vault, one);
  expect(states).toEqual(["full"]);
  expect(await vault.load("c-1")).toEqual(one);
  expect(await vault.heads()).toMatchObject([{ id: "c-1" }]);
});

test("blocked storage is reported, and the page continues in memory", async () => {
  vi.spyOn(indexedDB, "open").mockImplementation(() => {
    throw new DOMException("no", "SecurityError");
  });
  const vault = open();
  const one = talk("c-1", "tide");
  await save(vault, one);
  expect(states).toContain("blocked");
  expect(await vault.load("c-1")).toEqual(one);
  await vault.remove("c-1");
  expect(await vault.heads()).toEqual([]);
});

test("a damaged list is made anew, a damaged conversation is left out", async () => {
  await save(open(), talk("c-1", "tide"));
  const store = createStore("t", "conversations");
  await set("heads", "rubbish", store);
  await set("c:c-2", { version: 1, value: { id: "c-2", messages: 7 } }, store);
  await set("c:c-3", null, store);
  expect(await open().heads()).toMatchObject([{ id: "c-1" }]);
  expect(await open().load("c-2")).toBeUndefined();
  expect(await open().load("c-3")).toBeUndefined();
  expect(Array.isArray(await get("heads", store))).toBe(true);
});

test("another version's conversation is not guessed at, and is not destroyed", async () => {
  const store = createStore("t", "conversations");
  await set("c:c-9", { version: 99, value: talk("c-9", "later") }, store);
  expect(await open().load("c-9")).toBeUndefined();
  expect(await get("c:c-9", store)).toMatchObject({ version: 99 });
});

test("many are stored in one transaction, with progress, beside what is there", async () => {
  const vault = open();
  await save(vault, talk("c-0", "old"));
  const transactions = vi.spyOn(IDBDatabase.prototype, "transaction");
  const all = Array.from({ length: 50 }, (_, at) => talk(`c-${at + 1}`, `tide ${at}`));
  const steps: number[] = [];
  const isStored = await vault.saveAll(
    all.map((one) => [headOf(one), one]),
    (done) => steps.push(done),
  );
  expect(isStored).toBe(true);
  expect(transactions).toHaveBeenCalledTimes(1);
  expect(steps).toEqual(all.map((_, at) => at + 1));
  expect(await open().heads()).toHaveLength(51);
  expect(await open().load("c-50")).toEqual(all[49]);
});

test("of many that do not fit none is stored, and all are kept in memory", async () => {
  const vault = open();
  await save(vault, talk("c-0", "old"));
  const { put } = IDBObjectStore.prototype;
  let puts = 0;
  vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(function (this: IDBObjectStore, value, key) {
    puts += 1;
    if (puts > 5) throw new DOMException("no room", "QuotaExceededError");
    return put.call(this, value, key);
  });
  const all = Array.from({ length: 9 }, (_, at) => talk(`c-${at + 1}`, `tide ${at}`));
  expect(
    await vault.saveAll(
      all.map((one) => [headOf(one), one]),
      () => undefined,
    ),
  ).toBe(false);
  expect(states).toEqual(["full"]);
  expect(await vault.heads()).toHaveLength(10);
  expect(await vault.load("c-9")).toEqual(all[8]);
  expect(await open().heads()).toHaveLength(1);
});
