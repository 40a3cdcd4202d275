/** What a person wrote is neither lost nor sent twice: G16; fault 125. */
import assert from "node:assert/strict";
import { articles, asked, composer, open, ready, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { NETWORK, test } from "../harness/registry.mjs";
import { listen, remembered } from "../harness/wire.mjs";

const lines = (count) => Array.from({ length: count }, (_, k) => `message number ${k}`);

async function offline(page, stack) {
  await page.context().setOffline(true);
  stack.proxy.refuse(true);
}

async function online(page, stack) {
  stack.proxy.refuse(false);
  await page.context().setOffline(false);
}

/** Waits until a draft is stored: 300 ms after the last key, that is its promise. */
async function stored(t, page, text) {
  const since = Date.now();
  await until("the draft is stored", () =>
    page.evaluate((text) => Object.values(localStorage).some((value) => value.includes(text)), text),
  );
  t.figure({ case: `draft “${text}”`, stored_ms: Date.now() - since }, { stored_ms: 1_000 });
}

// faults: J125
test("20 messages written offline, the tab killed", {
  goal: "G16",
  timeout: 90_000,
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack({ pace: 1, first: 1 });
  const context = await t.context(stack);
  let page = await context.newPage();
  await open(page, stack);
  await say(page, "hello");
  await until("an answer", async () => (await articles(page).count()) >= 2);
  await offline(page, stack);
  for (const line of lines(20)) await say(page, line);
  await composer(page).fill("and a draft");
  assert.equal(await asked(page).filter({ hasText: "message number" }).count(), 20);
  const address = page.url();
  await stored(t, page, "and a draft");
  const session = await context.newCDPSession(page);
  const crashed = page.waitForEvent("crash");
  session.send("Page.crash").catch(() => {});
  await crashed;
  await page.close();

  await context.setOffline(false);
  stack.proxy.refuse(false);
  page = await context.newPage();
  const wire = listen(page);
  await page.goto(address);
  await ready(page);
  await until(
    "all were answered",
    async () => {
      const chat = wire.chat();
      if (!chat) return false;
      const messages = (await remembered(page, stack, chat)) ?? [];
      const finished = messages.filter(
        (one) => one.role === "assistant" && one.parts.every((part) => part.state === "done"),
      );
      return finished.length >= 21;
    },
    60_000,
  );
  const messages = await remembered(page, stack, wire.chat());
  const texts = messages.filter((one) => one.role === "user").map((one) => one.parts[0].text);
  assert.deepEqual(texts, ["hello", ...lines(20)], "each once, in order");
  assert.equal(await composer(page).inputValue(), "and a draft");
});

test("a message whose receipt was lost is not sent twice", { goal: "G16", allow: NETWORK }, async (t) => {
  const stack = await t.stack({ first: 300 });
  const page = await t.page(stack);
  const wire = listen(page);
  await open(page, stack);
  await say(page, "first");
  // The frame has gone out and nothing has come back.
  await until("it was sent", () => wire.sends().length > 0);
  await new Promise((resolve) => setTimeout(resolve, 60));
  stack.proxy.cut();
  await until("an answer", () => page.locator('article[data-outcome="done"]').count());
  const messages = await remembered(page, stack, wire.chat());
  assert.deepEqual(
    messages.map((one) => one.role),
    ["user", "assistant"],
  );
  assert.equal(await articles(page).count(), 2);
});

test("a draft survives a killed tab, each in its conversation", {
  goal: "G16",
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack();
  const context = await t.context(stack);
  const page = await context.newPage();
  await open(page, stack);
  await say(page, "one");
  await page.locator('article[data-outcome="done"]').waitFor();
  await composer(page).fill("draft of the first");
  await page.getByRole("button", { name: "New chat" }).first().click();
  await until("an empty composer", async () => (await composer(page).inputValue()) === "");
  await composer(page).fill("draft of the second");
  await stored(t, page, "draft of the second");
  const session = await context.newCDPSession(page);
  const crashed = page.waitForEvent("crash");
  session.send("Page.crash").catch(() => {});
  await crashed;
  const next = await context.newPage();
  await open(next, stack);
  await until("the second draft", async () => (await composer(next).inputValue()) === "draft of the second");
  await next
    .getByRole("navigation", { name: "Conversations" })
    .getByText("one", { exact: true })
    .first()
    .click();
  await until("the first draft", async () => (await composer(next).inputValue()) === "draft of the first");
});

test("no gateway is there at the first visit", { goal: "G8", allow: NETWORK }, async (t) => {
  const stack = await t.stack();
  const context = await t.context(stack);
  const first = await context.newPage();
  await open(first, stack);
  // The page is there (a cache, another server), the gateway is not.
  await stack.down();
  const page = first;
  await say(page, "is anybody there?");
  const banner = page.getByTestId("connection");
  await banner.getByRole("button", { name: "Try now" }).waitFor();
  await stack.up();
  await banner
    .getByRole("button", { name: "Try now" })
    .click({ timeout: 3000 })
    .catch(() => {});
  await page.locator('article[data-outcome="done"]').waitFor();
  assert.equal(await asked(page).count(), 1);
  void online;
});
