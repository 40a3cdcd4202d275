/** A gateway that falls silent is noticed, and one that only seems so loses nothing: G8; fault 125. */
import assert from "node:assert/strict";
import { answered, answers, assertWhole, composer, grown, open, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { counting } from "../harness/prompts.mjs";
import { NETWORK, test } from "../harness/registry.mjs";
import { listen, remembered } from "../harness/wire.mjs";
import { setHidden } from "./resume.test.mjs";

const banner = (page) => page.getByTestId("connection");
const dot = (page) => page.getByTestId("connection-dot");
const SILENT = "The service does not answer.";

/** Milliseconds until the page says it, in the banner and at the dot. */
async function noticed(page, since) {
  await banner(page).filter({ hasText: SILENT }).waitFor({ timeout: 60_000 });
  const ms = Date.now() - since;
  // A page that was shown a moment ago may have had a ping of less patience under way: then it connects already.
  assert.ok((await dot(page).getAttribute("aria-label")).startsWith(SILENT));
  assert.equal(await dot(page).getAttribute("data-state"), "bad");
  return ms;
}

/** The page has left the socket, whose gateway does not even answer a close frame. */
async function givenUp(page) {
  await banner(page).locator('[data-kind]:not([data-kind="live"])').waitFor({ timeout: 30_000 });
}

async function connected(page) {
  await until("it is connected", async () => (await dot(page).getAttribute("aria-label")) === "Connected");
}

/** Not early, and not as late as twice the time, apart from what the machine itself is late. */
function within(t, what, ms, nominal) {
  t.figure(
    { case: what, after_ms: ms, early_ms: nominal * 0.8 - ms },
    { after_ms: nominal * 2, early_ms: 0 },
  );
}

// faults: J125
test("a gateway that stops in mid-answer is noticed in 6 s and left at 10 s", {
  seconds: 12,
  goal: "G8",
  timeout: 90_000,
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  const wire = listen(page);
  await open(page, stack);
  await say(page, counting(600, 15));
  await grown(page, 100);
  const since = Date.now();
  stack.signal("SIGSTOP");
  const noticed_ms = await noticed(page, since);
  assert.match(await banner(page).textContent(), /What you see is kept.*New connection in [2-6] s/);
  await givenUp(page);
  const left = Date.now() - since;
  assert.match(await banner(page).textContent(), /does not answer/);
  stack.signal("SIGCONT");
  const back = Date.now();
  assertWhole(await answered(page, { timeout: 60_000 }), 600);
  await banner(page).filter({ hasText: /^$/ }).waitFor({ state: "attached" });
  assert.equal(wire.sends().length, 1);
  assert.equal((await remembered(page, stack, wire.chat())).length, 2, "asked once");
  t.figure({ case: "stopped", noticed_ms, left_ms: left, whole_ms: Date.now() - back });
  within(t, "it was shown", noticed_ms, 5_000);
  within(t, "it was left", left, 10_000);
});

// faults: J125
test("a gateway that goes on before it is given up loses neither words nor its socket", {
  goal: "G8",
  timeout: 60_000,
}, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  const wire = listen(page);
  await open(page, stack);
  await say(page, counting(400, 10));
  await grown(page, 100);
  stack.signal("SIGSTOP");
  await noticed(page, Date.now());
  stack.signal("SIGCONT");
  assertWhole(await answered(page), 400);
  assert.equal(await banner(page).textContent(), "");
  assert.equal(await dot(page).getAttribute("aria-label"), "Connected");
  assert.deepEqual([wire.sockets, wire.closed], [1, 0]);
});

// faults: J125
test("a question without a reply is noticed too, and is sent once", {
  goal: "G8",
  timeout: 90_000,
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  const wire = listen(page);
  await open(page, stack);
  await connected(page);
  stack.signal("SIGSTOP");
  const since = Date.now();
  await say(page, "is anybody there?");
  within(t, "it was shown", await noticed(page, since), 5_000);
  await givenUp(page);
  stack.signal("SIGCONT");
  await answered(page);
  assert.equal((await remembered(page, stack, wire.chat())).length, 2, "asked once");
  assert.equal(await answers(page).count(), 1);
});

// faults: J125
test("a quiet page notices in 25 s, a hidden one when it is shown again", {
  seconds: 35,
  goal: "G8",
  timeout: 110_000,
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack();
  const [quiet, hidden] = [await t.page(stack), await t.page(stack)];
  const wire = listen(hidden);
  for (const page of [quiet, hidden]) {
    await open(page, stack);
    await say(page, "hello");
    await answered(page);
  }
  await say(hidden, counting(700, 40));
  await grown(hidden, 50);
  await setHidden(hidden, true);
  const since = Date.now();
  stack.signal("SIGSTOP");
  within(t, "it was shown", await noticed(quiet, since), 18_000);
  // Timers of hidden pages are late: it has asked nothing and judged nothing.
  assert.equal(wire.sent.filter((frame) => frame.type === "ping" && frame.at > since).length, 0);
  assert.deepEqual([wire.closed, await banner(hidden).textContent()], [0, ""]);
  const shown = Date.now();
  await setHidden(hidden, false);
  await banner(hidden).filter({ hasText: SILENT }).waitFor();
  within(t, "shown again, it was shown", Date.now() - shown, 4_500);
  stack.signal("SIGCONT");
  assertWhole(await answered(hidden, { count: 2, timeout: 60_000 }), 700);
  await say(quiet, "still there?");
  await answered(quiet, { count: 2 });
});

/** The browser says so; it does not cut open sockets by itself. */
const tellOffline = (page, isOffline) =>
  page.evaluate((isOffline) => {
    Object.defineProperty(navigator, "onLine", { configurable: true, get: () => !isOffline });
    dispatchEvent(new Event(isOffline ? "offline" : "online"));
  }, isOffline);

// faults: J125
test("offline, where the gateway is out of reach, is shown after 1 s", {
  goal: "G8",
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  await open(page, stack);
  await say(page, counting(300, 15));
  await grown(page, 50);
  stack.proxy.stall(true);
  const since = Date.now();
  await tellOffline(page, true);
  await until("the dot says Offline", async () => (await dot(page).getAttribute("aria-label")) === "Offline");
  within(t, "offline was shown", Date.now() - since, 1_000);
  await banner(page).filter({ hasText: "You are offline." }).waitFor();
  await composer(page).fill("a draft");
  stack.proxy.stall(false);
  await tellOffline(page, false);
  assertWhole(await answered(page), 300);
  assert.equal(await composer(page).inputValue(), "a draft");
});

// faults: J125
test("offline, where the gateway answers, changes nothing", { goal: "G8" }, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  const wire = listen(page);
  await open(page, stack);
  await say(page, counting(300, 10));
  await grown(page, 50);
  await tellOffline(page, true);
  await until("it was asked and answered", () => wire.got.some((frame) => frame.type === "pong"));
  assertWhole(await answered(page), 300);
  await say(page, "and once more");
  await answered(page, { count: 2 });
  assert.equal(await dot(page).getAttribute("aria-label"), "Connected");
  assert.equal(await banner(page).textContent(), "");
  assert.deepEqual([wire.sockets, wire.closed], [1, 0]);
});
