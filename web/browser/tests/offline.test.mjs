/** Without a gateway the page still loads, with its conversations; a new one takes its place quietly; the demo leaves nothing behind. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { answered, assertWhole, composer, grown, open, ready, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { startFront } from "../harness/front.mjs";
import { counting, simText } from "../harness/prompts.mjs";
import { NETWORK, test } from "../harness/registry.mjs";
import { BINARY } from "../harness/stack.mjs";

const WORKER = { serviceWorkers: "allow" };

/** Waits until the worker answers for this page. */
async function controlled(page) {
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
}
const cached = (page) => page.evaluate(() => caches.keys());
const registrations = (page) =>
  page.evaluate(async () => (await navigator.serviceWorker.getRegistrations()).length);

/** The page's files in a folder of the test's own, served before a gateway on `target()`. */
async function served(t, target) {
  const folder = await mkdtemp(join(tmpdir(), "tidegate-page-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  if (process.env.PAGE_DIST) await cp(process.env.PAGE_DIST, folder, { recursive: true });
  else execFileSync(BINARY, ["page", folder]);
  // Plain files alone: they are changed below.
  for (const name of ["index.html", "sw.js"])
    for (const ending of [".br", ".gz"]) await rm(join(folder, name + ending), { force: true });
  const front = await startFront(folder, target);
  t.after(() => front.stop());
  return { folder, url: `http://127.0.0.1:${front.port}`, stop: () => front.stop() };
}

for (const nginx of [false, true]) {
  test(`offline: with the gateway gone a reload shows the conversations, ${nginx ? "behind nginx" : "directly"}`, {
    seconds: 12,
    allow: NETWORK,
  }, async (t) => {
    const stack = await t.stack({ nginx });
    const page = await t.page(stack, WORKER);
    await open(page, stack);
    await say(page, simText("The tide rises, **the tide** falls."));
    await answered(page);
    const path = new URL(page.url()).hash;
    await controlled(page);
    await stack.down();
    // A page that was built just now is served beside the gateway, and goes with it.
    if (process.env.PAGE_DIST) stack.proxy.refuse(true);
    await page.reload();
    await ready(page);
    await page.locator("strong", { hasText: "the tide" }).waitFor();
    await page
      .getByTestId("connection")
      .filter({ hasText: /connection is lost|does not answer/ })
      .waitFor();
    // Written now, sent when there is a gateway again.
    await say(page, simText("The tide rises again."));
    await page.getByText(/Waiting for a connection/).waitFor();
    // In a new window too, from the list.
    const other = await page.context().newPage();
    await other.goto(`${stack.url}/${path}`);
    await other.locator("strong", { hasText: "the tide" }).waitFor();
    await other.close();
    await stack.up();
    stack.proxy.refuse(false);
    await answered(page, { count: 2 });
  });
}

test("offline: a gateway that accepts and is silent does not hold the page", {
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack, WORKER);
  await open(page, stack);
  await controlled(page);
  stack.proxy.stall(true);
  await page.reload();
  await ready(page);
  await composer(page).waitFor();
});

test("offline: a new release takes its place in mid-answer without a reload, and the old files go", {
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page_ = await served(t, () => stack.direct);
  const { folder } = page_;
  const page = await t.page(page_, WORKER);
  await open(page, page_);
  await controlled(page);
  const [old] = await cached(page);
  await say(page, counting(300, 10));
  await grown(page, 30);
  await page.evaluate(() => {
    globalThis.isSame = true;
  });
  const index = await readFile(join(folder, "index.html"), "utf8");
  await writeFile(
    join(folder, "index.html"),
    index.replace("<head>", '<head><meta name="release" content="b">'),
  );
  const worker = await readFile(join(folder, "sw.js"), "utf8");
  const name = old.replace("tidegate-page-", "");
  assert.ok(worker.includes(name), "the worker knows its release");
  await writeFile(join(folder, "sw.js"), worker.replace(name, "0123456789abcdef"));
  await page.evaluate(async () => (await navigator.serviceWorker.ready).update());
  const fresh = "tidegate-page-0123456789abcdef";
  await until("the new release is there", async () => (await cached(page)).includes(fresh));
  assertWhole(await answered(page), 300);
  assert.equal(await page.evaluate(() => globalThis.isSame), true, "it was not loaded anew");
  // The next page is the new one, and no page needs the old files.
  await page.reload();
  await ready(page);
  assert.equal(await page.locator('meta[name="release"]').count(), 1);
  await until("the old files are gone", async () => (await cached(page)).join() === fresh);
  await page_.stop();
  await page.reload();
  await ready(page);
  assert.equal(await page.locator('meta[name="release"]').count(), 1, "also without a gateway");
});

test("offline: the demo has no worker, and takes away one that was left on its address", {
  allow: NETWORK,
}, async (t) => {
  const [real, demo] = [await t.stack({ nginx: false }), await t.stack({ nginx: false, demo: true })];
  let port = real.direct;
  const front = await served(t, () => port);
  const page = await t.page(front, WORKER);
  await open(page, front);
  await controlled(page);
  port = demo.direct;
  await page.reload();
  await page.getByText("Simulated answers").waitFor();
  await until(
    "it is gone",
    async () => (await registrations(page)) === 0 && (await cached(page)).length === 0,
  );
  // And none comes: twice as long as it takes elsewhere.
  await page.reload();
  await page.getByText("Simulated answers").waitFor();
  await page.waitForTimeout(4000);
  assert.equal(await registrations(page), 0);
});

test("offline: no script can be named by a text but the worker's", {
  allow: [/policy/i, /TrustedScriptURL/],
}, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack, WORKER);
  await open(page, stack);
  const outcomes = await page.evaluate(async () => {
    const tried = {};
    for (const name of ["tidegate", "default", "another"]) {
      try {
        trustedTypes.createPolicy(name, { createScriptURL: (url) => url });
        tried[name] = "made";
      } catch {
        tried[name] = "refused";
      }
    }
    try {
      await navigator.serviceWorker.register("/sw.js?another");
      tried.text = "registered";
    } catch {
      tried.text = "refused";
    }
    return tried;
  });
  assert.deepEqual(outcomes, {
    tidegate: "refused",
    default: "refused",
    another: "refused",
    text: "refused",
  });
});
