/** The page can be put beside other programs: its manifest and its icons. */
import assert from "node:assert/strict";
import { open } from "../harness/chat.mjs";
import { cdp } from "../harness/chromium.mjs";
import { test } from "../harness/registry.mjs";

test("the page can be installed, with icons of the sizes that systems ask for", {}, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  await open(page, stack);
  const session = await cdp(page);
  const { errors, data } = await session.send("Page.getAppManifest");
  assert.deepEqual(errors, []);
  const { icons } = JSON.parse(data);
  const touch = await page.locator('link[rel="apple-touch-icon"]').getAttribute("href");
  const wanted = [...icons, { src: touch, sizes: "180x180", type: "image/png" }];
  for (const size of ["192x192", "512x512"])
    assert.ok(
      wanted.some(({ sizes, type, purpose }) => sizes === size && type === "image/png" && !purpose),
      size,
    );
  assert.ok(wanted.some(({ sizes, purpose }) => sizes === "512x512" && purpose === "maskable"));
  for (const { src, sizes, type } of wanted) {
    const seen = await page.evaluate(async (src) => {
      const answer = await fetch(src);
      const image = new Image();
      image.src = src;
      await image.decode();
      return {
        type: answer.headers.get("content-type"),
        size: `${image.naturalWidth}x${image.naturalHeight}`,
      };
    }, src);
    assert.equal(seen.type, type, src);
    if (sizes !== "any") assert.equal(seen.size, sizes, src);
  }
  const { installabilityErrors } = await session.send("Page.getInstallabilityErrors");
  // A test's profile is a private window.
  const real = installabilityErrors.map(({ errorId }) => errorId).filter((id) => id !== "in-incognito");
  assert.deepEqual(real, []);
});
