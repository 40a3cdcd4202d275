/** Bad days: a gateway that errs, refuses or is gone, a wrong clock: faults 124, 125. */
import assert from "node:assert/strict";
import { answered, asked, assertWhole, composer, open, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { counting } from "../harness/prompts.mjs";
import { NETWORK, test } from "../harness/registry.mjs";

const CHAT = /\/api\/chat$/;

/** Stands between page and gateway; `change` gives the messages that are passed on instead of one of the gateway's. */
async function between(page, change, hear = () => {}) {
  await page.routeWebSocket(CHAT, (near) => {
    const far = near.connectToServer();
    near.onMessage((message) => {
      hear(JSON.parse(String(message)));
      far.send(message);
    });
    far.onMessage((message) => {
      for (const onward of change(JSON.parse(String(message)), String(message))) near.send(onward);
    });
  });
}

const ODD = [
  '{"type":"hologram","requestId":"r1"}',
  '{"type":"chunk"}',
  '{"type":"chunk","requestId":"unknown","sequence":3,"chunk":{"type":"text-delta","id":"1","delta":"stray"}}',
  '{"type":"chunk","requestId":17,"sequence":"x","chunk":null}',
  "{}",
  "[]",
  "null",
  "not json {",
  '{"__proto__":{"polluted":1},"type":"constructor"}',
  Buffer.from([0xff, 0x00, 0x80]),
];

// faults: J124
test("unknown frames are passed over", { goal: "J124" }, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  await between(page, (frame, raw) => (frame.type === "chunk" ? [...ODD, raw] : [raw]));
  await open(page, stack);
  await say(page, counting(60, 5));
  assertWhole(await answered(page), 60);
});

// faults: J124
test("doubles and old numbers are dropped", { goal: "J124" }, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  let first = null;
  await between(page, (frame, raw) => {
    if (frame.type !== "chunk") return [raw];
    first ??= frame.chunk.type === "text-delta" ? raw : null;
    return first ? [raw, raw, first] : [raw, raw];
  });
  await open(page, stack);
  await say(page, counting(80, 5));
  assertWhole(await answered(page), 80);
});

// faults: J124
test("a hole is asked for again, from the last good number", { goal: "J124" }, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  const resumes = [];
  const lost = new Set([20, 21, 70]);
  let newest = null;
  await between(
    page,
    (frame, raw) => {
      if (frame.type !== "chunk") return [raw];
      const isLost = frame.requestId === newest && lost.delete(frame.entry ?? frame.sequence);
      return isLost ? [] : [raw];
    },
    (frame) => {
      if (frame.type === "send" || frame.type === "resume") newest = frame.requestId;
      if (frame.type === "resume") resumes.push(frame.lastSequence);
    },
  );
  await open(page, stack);
  await say(page, counting(120, 8));
  assertWhole(await answered(page), 120);
  assert.ok(resumes.length >= 2, `resumed ${resumes.length} times`);
  assert.ok(
    resumes.every((number) => number > 0),
    "from the last good number, not from the beginning",
  );
});

/** What each way to be refused looks like to a person. */
const CODES = [
  { code: 1012, says: /restart/i, comesBack: true },
  { code: 1013, says: /busy/i, comesBack: true },
  { code: 4429, says: /busy/i, comesBack: true },
  { code: 1011, says: /lost|connection/i, comesBack: true },
  { code: 4401, says: /refused|sign in/i, comesBack: false },
  { code: 4403, says: /refused|sign in/i, comesBack: false },
  { code: 1008, says: /lost|connection/i, comesBack: true },
];

for (const { code, says, comesBack } of CODES) {
  // faults: J125
  test(`closed with ${code}`, { goal: "J125", allow: NETWORK }, async (t) => {
    const stack = await t.stack();
    const page = await t.page(stack);
    let attempts = 0;
    let open_ = false;
    await page.routeWebSocket(CHAT, (near) => {
      attempts++;
      if (open_) {
        near.connectToServer();
        return;
      }
      setTimeout(() => near.close({ code, reason: "" }), 20);
    });
    await open(page, stack);
    await composer(page).fill("a draft");
    const banner = page.getByTestId("connection");
    await banner.filter({ hasText: says }).waitFor({ timeout: 8000 });
    if (!comesBack) {
      const so = attempts;
      await page.waitForTimeout(1500); // Long enough for the first of its usual attempts.
      assert.equal(attempts, so, "it asks no more by itself");
    }
    assert.equal(await composer(page).inputValue(), "a draft");
    await composer(page).press("Enter");
    open_ = true;
    const button = banner.getByRole("button", { name: "Try now" });
    // It may come back by itself in this very moment, and the button goes.
    if (comesBack) await button.click({ timeout: 2000 }).catch(() => {});
    else await button.click();
    await answered(page);
    assert.equal(await asked(page).count(), 1);
  });
}

// faults: J125
test("offline is shown, and what is written meanwhile is sent later", {
  goal: "J125",
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  await open(page, stack);
  await say(page, "hello");
  await answered(page);
  await page.context().setOffline(true);
  stack.proxy.refuse(true);
  const banner = page.getByTestId("connection");
  await banner.filter({ hasText: /offline/i }).waitFor();
  await say(page, "written offline");
  await page
    .locator('article[data-role="user"]')
    .last()
    .getByText(/Waiting for a connection/)
    .waitFor();
  stack.proxy.refuse(false);
  const back = Date.now();
  await page.context().setOffline(false);
  await answered(page, { count: 2 });
  t.figure({ case: "back online", answered_ms: Date.now() - back }, { answered_ms: 4000 });
  await until("the banner is gone", async () => !/offline/i.test((await banner.textContent()) ?? ""));
});

for (const years of [-30, 30]) {
  test(`a clock that is ${Math.abs(years)} years ${years < 0 ? "slow" : "fast"} and jumps`, {
    goal: "J125",
    allow: NETWORK,
  }, async (t) => {
    const stack = await t.stack();
    const context = await t.context(stack);
    await context.addInitScript((years) => {
      const real = Date.now.bind(Date);
      globalThis.skew = years * 365 * 86_400_000;
      Date.now = () => real() + globalThis.skew;
    }, years);
    const page = await context.newPage();
    await open(page, stack);
    await say(page, counting(150, 8));
    await page.locator('[data-part="text"]').filter({ hasText: "#20 " }).waitFor();
    await page.evaluate(() => {
      globalThis.skew = 0;
    });
    stack.proxy.cut();
    assertWhole(await answered(page), 150);
    await say(page, "and once more");
    await answered(page, { count: 2 });
  });
}

for (const answer of [
  { status: 500, body: "no" },
  { status: 200, body: "<html>" },
  { status: 200, body: "{}" },
  { status: 403, body: '{"code":"foreign_origin"}' },
]) {
  test(`/api/config answers ${answer.status} ${answer.body}`, { goal: "J125", allow: NETWORK }, async (t) => {
    const stack = await t.stack();
    const page = await t.page(stack);
    let good = false;
    await page.route("**/api/config", (route) =>
      good ? route.continue() : route.fulfill({ ...answer, contentType: "application/json" }),
    );
    await open(page, stack);
    await composer(page).fill("a draft");
    // It says that it cannot, and keeps the draft; or it can do without.
    await say(page, "hello");
    assert.equal(await asked(page).count(), 1);
    good = true;
    await page
      .getByTestId("connection")
      .getByRole("button", { name: "Try now" })
      .click({ timeout: 2000 })
      .catch(() => {});
    await answered(page);
  });
}
