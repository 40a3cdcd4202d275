/** A gateway that is stopping finishes its answers, and what is new does not wait for them: fault 125. */
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { answered, answers, articles, assertWhole, grown, open, say, textOf } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { counting } from "../harness/prompts.mjs";
import { NETWORK, test } from "../harness/registry.mjs";
import { listen } from "../harness/wire.mjs";

/** With one worker all sockets and sessions of a gateway are drained in the same moment. */
const LONG = { "server.drain_timeout": "60s", "server.workers": "1" };

async function newChat(page) {
  await page.getByRole("button", { name: "New chat" }).first().click();
  await until("an empty thread", async () => (await articles(page).count()) === 0);
}

/** Opens a conversation by its name in the list. */
async function choose(page, title) {
  await page
    .getByRole("navigation", { name: "Conversations" })
    .getByText(title, { exact: false })
    .first()
    .click();
}

/** The gateway that has the page's socket. */
async function home(stack) {
  const found = await until("a gateway has the socket", () =>
    stack.gateways.find((gateway) => /socket opened/.test(gateway.log())),
  );
  return { own: found, other: stack.gateways.find((gateway) => gateway !== found) };
}

/** Opens a socket on which nothing is asked; what is returned is settled when the gateway says good-bye on it. */
async function idle(port) {
  const socket = net.connect(port, "127.0.0.1");
  const upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13";
  const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
  socket.write(`GET /chat HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${upgrade}\r\n${key}\r\n\r\n`);
  const [head] = await once(socket, "data");
  assert.match(String(head), /^HTTP\/1.1 101 /);
  let isClosed = false;
  socket.on("data", (bytes) => {
    isClosed ||= bytes[0] === 0x88;
  });
  return async () => {
    await until("a close frame", () => isClosed);
    socket.destroy();
  };
}

async function drain(gateway) {
  const closed = await idle(gateway.port);
  gateway.signal("SIGTERM");
  await until(
    "it drains",
    async () => (await fetch(`http://127.0.0.1:${gateway.port}/readyz`)).status === 503,
  );
  // Its sessions are notified half a second later, with its sockets; until then a known chat may still ask.
  await closed();
}

// faults: J125
test("while one of two gateways drains, a question in another chat is answered at once", {
  goal: "J125",
  timeout: 90_000,
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack({ gateways: 2, set: LONG });
  const page = await t.page(stack);
  const wire = listen(page);
  await open(page, stack);
  await say(page, "my name is Ada");
  await answered(page);
  await newChat(page);
  await say(page, counting(300, 15));
  await grown(page, 50);
  const { own, other } = await home(stack);
  // It runs until all of the rest was seen, however long that takes.
  own.model.pause();
  await drain(own);

  await newChat(page);
  const since = Date.now();
  await say(page, "a quick question");
  await answered(page);
  const ms = Date.now() - since;
  // Put to the old gateway, refused, put to the other one.
  const [refused, taken] = wire.sends().slice(-2);
  assert.equal(refused.id, taken.id);
  assert.equal(wire.sockets, 2, "a second socket was opened");
  assert.equal(wire.closed, 0, "the first one is still there");
  assert.match(other.log(), /socket opened/);
  // A chat that the stopping gateway has in its memory is rebuilt at the other one.
  await choose(page, "my name is Ada");
  await say(page, "what is my name?");
  assert.match(await answered(page, { count: 2 }), /Ada/);

  // In the chat whose answer runs, a question waits for that answer, and for nothing else.
  await choose(page, "/sim tokens=300");
  assert.equal(await answers(page).last().getAttribute("data-outcome"), "streaming");
  await say(page, "and then?");
  await until("it waits", async () => (await answers(page).count()) === 2);
  assert.equal(wire.sends().length, 5, "it is not sent before its turn");
  own.model.resume();
  await answered(page, { count: 2, timeout: 40_000 });
  assertWhole(await textOf(answers(page).first()), 300);
  await until("the old gateway has ended in good order", () => own.ended());
  assert.equal(wire.sockets, 2);
  assert.equal(await page.getByTestId("connection").textContent(), "");
  t.figure(
    { case: "another gateway", moved_ms: taken.at - refused.at, answered_ms: ms },
    { moved_ms: 3_000 },
  );
});

// faults: J125
test("without another gateway a question is tried once per Retry-After, and the answer is not touched", {
  seconds: 12,
  goal: "J125",
  timeout: 90_000,
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack({ set: LONG });
  const page = await t.page(stack);
  const wire = listen(page);
  const tries = [];
  page.on("request", (request) => {
    if (request.url().endsWith("/api/config")) tries.push(Date.now());
  });
  await open(page, stack);
  await say(page, counting(300, 15));
  await grown(page, 50);
  const [gateway] = stack.gateways;
  gateway.model.pause();
  await drain(gateway);
  await newChat(page);
  tries.length = 0;
  await say(page, "a question that waits");
  const banner = page.getByTestId("connection");
  await banner.filter({ hasText: /restarting.*A running answer goes on.*Next attempt in/ }).waitFor();
  await page
    .locator('article[data-role="user"]')
    .last()
    .getByText(/Waiting for a connection/)
    .waitFor();
  await choose(page, "/sim tokens=300");
  assert.equal(await answers(page).last().getAttribute("data-outcome"), "streaming");
  // Longer than a Retry-After of the gateway.
  await until("it was tried again", () => tries.length > 1 && Date.now() - tries[0] > 6_000);
  const during = tries.length;
  const took = Date.now() - tries[0];
  gateway.model.resume();
  assertWhole(await answered(page, { timeout: 40_000 }), 300);
  assert.ok(during <= 2 + took / 5_000, `${during} tries in ${took} ms`);
  assert.equal(wire.sockets, 1, "no handshake that could only fail");
  await until("the gateway has ended in good order", () => gateway.ended());
  await stack.up();
  const back = Date.now();
  await choose(page, "a question that waits");
  await answered(page);
  assert.equal(wire.sends().filter((frame) => /waits/.test(JSON.stringify(frame.messages))).length, 2);
  t.figure({ case: "no other gateway", tries: during, answered_ms: Date.now() - back });
});
