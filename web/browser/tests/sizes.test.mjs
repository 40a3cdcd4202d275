/** What a visitor must load, as it is served: G1; and how soon it can be used: G2. */
import assert from "node:assert/strict";
import http from "node:http";
import { answered, open, say } from "../harness/chat.mjs";
import { cdp } from "../harness/chromium.mjs";
import { round } from "../harness/figures.mjs";
import { collecting } from "../harness/measure.mjs";
import { simText } from "../harness/prompts.mjs";
import { test } from "../harness/registry.mjs";

/** Bytes of what was loaded, by kind, as they went over the wire. */
async function counted(page) {
  const session = await cdp(page);
  await session.send("Network.enable");
  const kinds = new Map();
  const loaded = [];
  session.on("Network.responseReceived", ({ requestId, type, response }) =>
    kinds.set(requestId, {
      type,
      url: response.url,
      encoding: response.headers["content-encoding"] ?? response.headers["Content-Encoding"],
    }),
  );
  session.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    if (kinds.has(requestId)) loaded.push({ ...kinds.get(requestId), bytes: encodedDataLength });
  });
  return {
    loaded,
    kib: (type) =>
      round(loaded.filter((one) => one.type === type).reduce((sum, one) => sum + one.bytes, 0) / 1024, 1),
  };
}

test("little is loaded before one can type", { goal: "G1" }, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  const html = await (await fetch(`${stack.url}/`)).text();
  const initial = [...html.matchAll(/(?:src|href)="(\/[^"]+\.(js|css))"/g)].map(([, path, kind]) => ({
    path,
    kind,
  }));
  const size = ({ path }) =>
    new Promise((resolve, reject) => {
      const headers = { "Accept-Encoding": "br" };
      const asked = http.get(stack.url + path, { headers }, (answer) => {
        if (answer.headers["content-encoding"] !== "br") reject(new Error(`${path} is not compressed`));
        let bytes = 0;
        answer.on("data", (part) => {
          bytes += part.length;
        });
        answer.on("end", () => resolve(bytes));
      });
      asked.on("error", reject);
    });
  const kib = async (kind) => {
    const sizes = await Promise.all(initial.filter((one) => one.kind === kind).map(size));
    return round(sizes.reduce((sum, bytes) => sum + bytes, 0) / 1024, 1);
  };
  const count = await counted(page);
  await open(page, stack);
  await say(page, simText("**word**"));
  await answered(page);
  const figures = {
    initial_js_kib: await kib("js"),
    initial_css_kib: await kib("css"),
    first_word_js_kib: count.kib("Script"),
    first_word_css_kib: count.kib("Stylesheet"),
  };
  assert.ok(figures.initial_js_kib > 40, "the page's own script was counted");
  t.figure(figures, { initial_js_kib: 100, initial_css_kib: 10, first_word_js_kib: 150 });
});

async function start(page, stack) {
  await page.goto(`${stack.url}/`);
  await page.waitForFunction(() => performance.getEntriesByName("composer-ready").length > 0);
  return await page.evaluate(() => ({
    fcp_ms: Math.round(performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0),
    usable_ms: Math.round(performance.getEntriesByName("composer-ready")[0].startTime),
  }));
}

test("soon there", { goal: "G2", alone: true }, async (t) => {
  const stack = await t.stack();
  const context = await t.context(stack);
  await collecting(context);
  const page = await context.newPage();
  const first = await start(page, stack);
  await say(page, simText("word"));
  await answered(page);
  await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length > 0);
  first.fcp_ms ||= await page.evaluate(() =>
    Math.round(performance.getEntriesByName("first-contentful-paint")[0].startTime),
  );
  const shift = await page.evaluate(() =>
    globalThis.measured
      .end()
      .shifts.filter((one) => !one.mine)
      .reduce((sum, one) => sum + one.value, 0),
  );
  t.figure(
    { case: "loopback", ...first, shift: round(shift, 3) },
    t.goals ? { fcp_ms: 250, usable_ms: 350, shift: 0 } : { usable_ms: 2500, shift: 0.02 },
  );
  const again = await start(page, stack);
  t.figure({ case: "second visit", ...again }, t.goals ? { usable_ms: 150 } : { usable_ms: 1500 });
});

test("soon there on a slow phone", { goal: "G2", alone: true }, async (t) => {
  const stack = await t.stack();
  const context = await t.context(stack, { viewport: { width: 390, height: 780 } });
  await collecting(context);
  const page = await context.newPage();
  const session = await cdp(page);
  await session.send("Network.enable");
  await session.send("Network.emulateNetworkConditions", {
    offline: false,
    latency: 150,
    downloadThroughput: 1.6e6 / 8,
    uploadThroughput: 750e3 / 8,
  });
  await session.send("Emulation.setCPUThrottlingRate", { rate: 4 });
  const first = await start(page, stack);
  const shift = await page.evaluate(() =>
    globalThis.measured.end().shifts.reduce((sum, one) => sum + one.value, 0),
  );
  t.figure(
    { case: "slow 4G, 4x CPU", ...first, shift: round(shift, 3) },
    t.goals ? { fcp_ms: 1200, usable_ms: 1600, shift: 0 } : { usable_ms: 6000 },
  );
});
