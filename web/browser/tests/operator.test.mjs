/** The operator's own name, sentence and links on the page. */
import assert from "node:assert/strict";
import { answered, open, ready, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { test } from "../harness/registry.mjs";

const SET = {
  "page.title": "Harbour <b>chat</b>",
  "page.notice": "Do not enter personal data.",
  "page.links": "Help=https://help.example.com/a?b=c,Ask us=mailto:ops@example.com",
};

test("the operator's title, notice and links are shown as text", {}, async (t) => {
  const stack = await t.stack({ nginx: false, set: SET });
  const page = await t.page(stack);
  await open(page, stack);
  await page.getByRole("heading", { level: 1, name: "Harbour <b>chat</b>" }).waitFor();
  assert.equal(await page.title(), "Harbour <b>chat</b>");
  const links = await page
    .getByRole("list", { name: "More" })
    .getByRole("link")
    .evaluateAll((all) =>
      all.map(({ textContent, href, rel, target }) => ({ textContent, href, rel, target })),
    );
  const rel = "noopener noreferrer";
  assert.deepEqual(links, [
    { textContent: "Help", href: "https://help.example.com/a?b=c", rel, target: "_blank" },
    { textContent: "Ask us", href: "mailto:ops@example.com", rel, target: "" },
  ]);
  await say(page, "/sim tokens=3");
  await answered(page);
  await until("the tab has both names", async () => (await page.title()).endsWith(" · Harbour <b>chat</b>"));
  // Put away, it stays away; with other words it is there again.
  const notice = page.getByText("Do not enter personal data.");
  await page.getByRole("button", { name: "Hide this notice" }).click();
  await notice.waitFor({ state: "detached" });
  await page.reload();
  await ready(page);
  await page.getByRole("heading", { level: 1 }).waitFor();
  assert.equal(await notice.count(), 0);
  await page.route("**/api/config", async (route) => {
    const answer = await route.fetch();
    const configuration = await answer.json();
    await route.fulfill({
      response: answer,
      json: { ...configuration, page: { ...configuration.page, notice: "Down on Friday." } },
    });
  });
  await page.reload();
  await page.getByText("Down on Friday.").waitFor();
});
