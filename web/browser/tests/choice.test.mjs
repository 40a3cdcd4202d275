/** The model's picker, beside the box: for pointers, keys, phones, in Chinese and in the dark. */
import assert from "node:assert/strict";
import { AxeBuilder } from "@axe-core/playwright";
import { answered, open, ready, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { test } from "../harness/registry.mjs";

const PARAMETERS = {
  temperature: { min: 0, max: 1.99 },
  top_p: { min: 0, max: 1 },
  max_tokens: { max: 8192 },
  thinking: ["on", "off"],
};
const MODELS = [
  { id: "sim-chat", title: "Qwen Plus", default: true, parameters: PARAMETERS },
  { id: "llama3", title: "Llama 3.2 3B", default: false, state: "down", parameters: {} },
];

/** The gateway's configuration with other models, which may change while the page is open. */
async function offer(page, stack, models) {
  const now = { models };
  // Its cookies are the page's.
  const configuration = await (await page.request.get(`${stack.url}/api/config`)).json();
  await page.route("**/api/config", (route) =>
    route.fulfill({ json: { ...configuration, models: now.models } }),
  );
  return now;
}

/** The bodies of the questions that the page sends. */
function bodies(page) {
  const sent = [];
  page.on("websocket", (socket) =>
    socket.on("framesent", ({ payload }) => {
      const frame = JSON.parse(String(payload));
      if (frame.type === "send") sent.push(frame.body ?? {});
    }),
  );
  return sent;
}

test("a model and its parameters are chosen, sent, kept and forgotten when they are gone", {}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack);
  const now = await offer(page, stack, MODELS);
  const sent = bodies(page);
  await open(page, stack);
  const picker = page.getByRole("button", { name: "Model: Qwen Plus" });
  await picker.click();
  await page.getByRole("slider", { name: "Temperature" }).fill("0.3");
  await page.getByRole("spinbutton", { name: "Longest answer" }).fill("500");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog", { name: "Model" }).waitFor({ state: "hidden" });
  await page.getByRole("button", { name: "Thinking", pressed: false }).click();
  await say(page, "/sim tokens=3");
  await until("it was asked", () => sent.length === 1);
  assert.deepEqual(sent[0], { temperature: 0.3, max_tokens: 500, thinking: true });
  // With the keys alone.
  await picker.focus();
  await page.keyboard.press("Enter");
  const panel = page.getByRole("dialog", { name: "Model" });
  await panel.getByRole("radio", { name: "Qwen Plus" }).waitFor();
  await until("the chosen one has the focus", () =>
    panel.getByRole("radio", { name: "Qwen Plus" }).evaluate((radio) => radio === document.activeElement),
  );
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await panel.waitFor({ state: "hidden" });
  await page.getByRole("button", { name: "Model: Llama 3.2 3B" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Thinking" }).count(), 0);
  // Kept with the conversation.
  await until("it is stored", () =>
    page.evaluate(
      () =>
        new Promise((done) => {
          setTimeout(() => done(localStorage.getItem("tidegate.choice")?.includes("llama3") === true), 600);
        }),
    ),
  );
  await page.reload();
  await ready(page);
  await page.getByRole("button", { name: "Model: Llama 3.2 3B" }).waitFor();
  // It vanishes; the conversation goes on with the default one, and says so until the next question.
  now.models = [MODELS[0]];
  await page.reload();
  await ready(page);
  const note = page.getByText("llama3 is not offered any more; Qwen Plus answers.");
  await note.waitFor();
  await say(page, "/sim tokens=3");
  await note.waitFor({ state: "detached" });
  await until("it was asked", () => sent.length === 2);
  assert.deepEqual(sent[1], { temperature: 0.3, max_tokens: 500, thinking: true });
});

test("a gateway that refuses the model is asked for its offer, and Try again asks the default one", {}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack);
  const now = await offer(page, stack, MODELS);
  const sent = bodies(page);
  await open(page, stack);
  await page.getByRole("button", { name: "Model: Qwen Plus" }).click();
  await page.getByRole("dialog", { name: "Model" }).getByText("Llama 3.2 3B").click();
  await page.getByRole("dialog", { name: "Model" }).waitFor({ state: "hidden" });
  now.models = [{ ...MODELS[0], parameters: {} }];
  await say(page, "/sim tokens=3");
  await page.getByText("llama3 is not offered any more; Qwen Plus answers.").waitFor();
  await page.getByRole("button", { name: "Try again" }).click();
  await answered(page);
  assert.deepEqual(sent, [{ model: "llama3" }, {}]);
});

test("while there is no model, the page says so and asks until there is one", {}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack);
  const now = await offer(page, stack, []);
  await open(page, stack);
  const note = page.getByText("The model service does not answer yet.");
  await note.waitFor();
  now.models = MODELS;
  await note.waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Model: Qwen Plus" }).waitFor();
});

for (const [name, options] of [
  ["on a desktop", { viewport: { width: 1280, height: 800 } }],
  [
    "on a phone, in Chinese, in the dark",
    { viewport: { width: 320, height: 560 }, locale: "zh-CN", colorScheme: "dark" },
  ],
]) {
  test(`the picker fits the window and is accessible ${name}`, {}, async (t) => {
    const stack = await t.stack({ nginx: false });
    const page = await t.page(stack, options);
    // As many as a gateway offers at most.
    const more = Array.from({ length: 254 }, (_, at) => ({
      id: `model-${at}-${"x".repeat(at % 60)}`,
      parameters: {},
    }));
    await offer(page, stack, [...MODELS, ...more]);
    await open(page, stack);
    await page.locator('button[aria-haspopup="dialog"]').click();
    const panel = page.locator("[popover]:popover-open");
    await panel.locator("input[type=search]").waitFor();
    const box = await panel.boundingBox();
    assert.ok(box.x >= 0 && box.y >= 0, JSON.stringify(box));
    assert.ok(box.x + box.width <= options.viewport.width, JSON.stringify(box));
    assert.ok(box.y + box.height <= options.viewport.height, JSON.stringify(box));
    const { violations } = await new AxeBuilder({ page }).setLegacyMode(true).analyze();
    assert.deepEqual(
      violations.map(({ id, nodes }) => `${id}: ${nodes[0].target}`),
      [],
    );
    await page.keyboard.press("Escape");
    await panel.waitFor({ state: "detached" });
  });
}
