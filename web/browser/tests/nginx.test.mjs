/** What nginx shows by itself: a page that tries again while no gateway is there, and a question for a password. */
import assert from "node:assert/strict";
import { answered, composer, open, ready, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { NETWORK, test } from "../harness/registry.mjs";

for (const [colorScheme, background] of [
  ["light", "rgb(255, 255, 255)"],
  ["dark", "rgb(21, 23, 26)"],
]) {
  test(`nginx shows a page while no gateway is there, which loads by itself: ${colorScheme}`, {
    seconds: 11,
    allow: NETWORK,
  }, async (t) => {
    const stack = await t.stack({ nginx: true });
    await stack.down();
    const page = await t.page(stack, { colorScheme, viewport: { width: 390, height: 844 } });
    const downloads = [];
    page.on("download", (download) => downloads.push(download.url()));
    const response = await page.goto(`${stack.url}/`);
    assert.equal(response.status(), 503);
    await page.getByRole("heading", { name: "The service is not available right now" }).waitFor();
    await page.getByRole("heading", { name: "服务暂时无法访问" }).waitFor();
    // Its style passed the policy, and nothing stands out at the side of a phone.
    const [color, width] = await page.evaluate(() => [
      getComputedStyle(document.body).backgroundColor,
      document.documentElement.scrollWidth,
    ]);
    assert.equal(color, background);
    assert.ok(width <= 390, `${width} px wide`);
    // It asks again, in vain.
    await page.waitForEvent("framenavigated");
    await page.getByRole("heading", { name: "服务暂时无法访问" }).waitFor();
    await stack.up();
    await ready(page);
    await say(page, "/sim text=there pace_ms=0 first_ms=0");
    assert.match(await answered(page), /there/);
    assert.deepEqual(downloads, []);
  });
}

// `ada` with the password `tide`, by `openssl passwd -6`.
const USERS =
  "ada:$6$saltsalt$9vPwUcfgSmA3X4cxdeDxChwrbczEyEiCgVonRPvNndfJb3Sco7Ctylu0f5tJK9Q6smOOAyAP1WbM1v7jtzblR1\n";

test("a page and its socket work behind a password, and nothing without it", {
  allow: NETWORK,
}, async (t) => {
  const stack = await t.stack({ nginx: true, users: USERS });
  const stranger = await t.page(stack, { httpCredentials: { username: "ada", password: "ebb" } });
  assert.equal((await stranger.goto(`${stack.url}/`)).status(), 401);
  const page = await t.page(stack, { httpCredentials: { username: "ada", password: "tide" } });
  await open(page, stack);
  await composer(page).waitFor();
  await say(page, "/sim text=there pace_ms=0 first_ms=0");
  assert.match(await answered(page), /there/);
  // A socket that was lost is opened again, with the password.
  stack.proxy.refuse(true);
  await page.getByText("The connection is lost.").waitFor();
  stack.proxy.refuse(false);
  await until("it is back", async () => (await page.getByText("The connection is lost.").count()) === 0);
  await say(page, "/sim text=again pace_ms=0 first_ms=0");
  assert.match(await answered(page, { count: 2 }), /again/);
});
