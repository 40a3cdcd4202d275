/**
 * Takes pictures of the page in Debian's Chromium: `npm run shots [-- FOLDER] [NAMES…]`. Look at them after every change that is seen.
 * SHOTS_FONT names a font to be used in place of the system's. The binary is `../target/debug/tidegate`, or what TIDEGATE names; the page is built anew.
 */
import { execFileSync } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { exported, STREAMED } from "./shots-data.mjs";

const [folder = "/tmp/tidegate-shots", ...names] = process.argv.slice(2);
const root = fileURLToPath(new URL("..", import.meta.url));
process.env.PAGE_DIST ??= `${folder}/.dist`;
await mkdir(folder, { recursive: true });
if (!process.env.SHOTS_BUILT)
  execFileSync(
    "npx",
    ["vite", "build", "--logLevel", "warn", "--emptyOutDir", "--outDir", process.env.PAGE_DIST],
    {
      cwd: root,
      stdio: "inherit",
    },
  );
// These modules read PAGE_DIST when they are loaded.
const { launch } = await import("../browser/harness/chromium.mjs");
const { startStack } = await import("../browser/harness/stack.mjs");
const { answered, composer, grown, say } = await import("../browser/harness/chat.mjs");

const DESK = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };
const sim = (text, more = "") => `/sim ${more} text=${JSON.stringify(text)}`;

async function pick(page, title) {
  await openSide(page);
  await page.getByRole("navigation").getByRole("button", { name: title, exact: true }).click();
  await page.locator("article[data-role=assistant]").last().waitFor();
  await page.waitForTimeout(600);
}
async function openSide(page) {
  const show = page.getByRole("button", { name: /^(Show conversations|显示对话列表)$/ });
  if (await show.isVisible()) await show.click();
}
async function away(page, stack) {
  await page.waitForTimeout(300);
  stack.proxy.refuse(true);
  await page.getByTestId("connection").getByRole("button").waitFor();
}

/** Name → steps to reach it, and its options. */
const SHOTS = {
  empty: { seed: false },
  "empty-dark": { seed: false, dark: true },
  "empty-phone": { seed: false, device: PHONE },
  "empty-zh": { seed: false, zh: true },
  light: { reach: (page) => pick(page, "Why two high waters a day?") },
  dark: { dark: true, reach: (page) => pick(page, "Why two high waters a day?") },
  phone: { device: PHONE, reach: (page) => pick(page, "Why two high waters a day?") },
  "phone-dark": { device: PHONE, dark: true, reach: (page) => pick(page, "潮汐发电") },
  "phone-list": { device: PHONE, reach: openSide },
  zh: { zh: true, reach: (page) => pick(page, "潮汐发电") },
  "zh-settings": { zh: true, reach: (page) => page.getByRole("button", { name: "设置" }).click() },
  code: { reach: (page) => pick(page, "Tide curve in Rust") },
  "code-dark": { dark: true, reach: (page) => pick(page, "Tide curve in Rust") },
  "code-phone": { device: PHONE, reach: (page) => pick(page, "Tide curve in Rust") },
  waiting: { reach: (page) => say(page, "/sim first_ms=20000 tokens=5") },
  streaming: {
    reach: async (page) => {
      await say(page, sim(STREAMED, "tokens=260 pace_ms=25"));
      await grown(page, 700);
    },
  },
  reasoning: {
    set: "sim-think",
    reach: async (page) => {
      await say(page, "/sim think=400 tokens=400 pace_ms=20");
      await page.locator('[data-part="reasoning"]').waitFor();
      await page.waitForTimeout(1500);
    },
  },
  error: {
    reach: async (page) => {
      await say(page, "/sim status=429 code=Throttling.RateQuota");
      await answered(page, { outcome: "failed" });
    },
  },
  "error-dark": {
    dark: true,
    reach: async (page) => {
      await say(page, "/sim tokens=60 cut_after=30");
      await page.waitForTimeout(2500);
    },
  },
  reconnecting: {
    reach: async (page, stack) => {
      await say(page, sim(STREAMED, "tokens=260 pace_ms=60"));
      await grown(page, 300);
      await away(page, stack);
    },
  },
  "reconnecting-phone": {
    device: PHONE,
    dark: true,
    zh: true,
    reach: (page, stack) => away(page, stack),
  },
  queued: {
    reach: async (page, stack) => {
      await pick(page, "HTTP streaming or WebSocket?");
      await away(page, stack);
      await say(page, "And over a bad network?");
      await page.waitForTimeout(300);
    },
  },
  settings: { reach: (page) => page.getByRole("button", { name: "Settings" }).click() },
  "settings-dark": { dark: true, reach: (page) => page.getByRole("button", { name: "Settings" }).click() },
  shortcuts: { reach: (page) => page.getByRole("button", { name: "Keyboard shortcuts" }).click() },
  "shortcuts-phone": {
    device: PHONE,
    reach: (page) => page.getByRole("button", { name: "Settings" }).click(),
  },
  search: {
    reach: async (page) => {
      await page.getByRole("searchbox").fill("tide");
      await page.waitForTimeout(400);
    },
  },
  menu: {
    reach: async (page) => {
      await page.getByRole("button", { name: "More for “Tide curve in Rust”" }).click({ force: true });
    },
  },
  undo: {
    reach: async (page) => {
      await page.getByRole("button", { name: "More for “Tide curve in Rust”" }).click({ force: true });
      await page.getByRole("button", { name: "Delete" }).click();
      await page.waitForTimeout(200);
    },
  },
  editing: {
    reach: async (page) => {
      await pick(page, "Why two high waters a day?");
      await composer(page).press("ArrowUp");
      await page.waitForTimeout(200);
    },
  },
  branches: {
    reach: async (page) => {
      await say(page, "hello");
      await answered(page);
      await page.getByRole("button", { name: "Regenerate" }).click();
      await page.getByText("2/2").waitFor();
      await answered(page);
    },
  },
  long: {
    reach: async (page) => {
      await pick(page, "A very long conversation about everything that has ever been known of the sea");
      await page.getByRole("log").hover();
      await page.mouse.wheel(0, -3000);
      await page.waitForTimeout(600);
    },
  },
  blocked: { seed: false, blocked: true },
  demo: { seed: false, simulated: true, reach: (page) => say(page, "Explain the tides to a ten-year-old") },
  composed: {
    reach: (page) =>
      composer(page).fill(
        "First line\n\nA second one that is long enough to be wrapped by the box, which grows with what is written in it, up to two fifths of the window.\nThird.",
      ),
  },
};

const browser = await launch();
const stacks = new Map();
const stackFor = async (model = "sim-chat") => {
  if (!stacks.has(model)) stacks.set(model, await startStack({ model, nginx: false }));
  return stacks.get(model);
};
const now = Date.now();
try {
  for (const [name, shot] of Object.entries(SHOTS)) {
    if (names.length > 0 && !names.includes(name)) continue;
    const stack = await stackFor(shot.set);
    stack.proxy.refuse(false);
    const context = await browser.newContext({
      ...(shot.device ?? DESK),
      locale: shot.zh ? "zh-CN" : "en-US",
      colorScheme: shot.dark ? "dark" : "light",
    });
    const page = await context.newPage();
    page.setDefaultTimeout(10_000);
    page.on("console", (message) => message.type() === "error" && console.log(`${name}: ${message.text()}`));
    page.on("pageerror", (error) => console.log(`${name}: ${error.stack}`));
    if (shot.blocked)
      await page.addInitScript(() => Object.defineProperty(window, "indexedDB", { get: () => undefined }));
    await page.route("**/api/config", async (route) => {
      const answer = await route.fetch();
      const changed = { models: [{ id: "qwen-plus" }], simulated: shot.simulated === true };
      await route.fulfill({ response: answer, json: { ...(await answer.json()), ...changed } });
    });
    await page.goto(stack.url);
    await page.waitForSelector("html[data-ready]");
    try {
      if (shot.seed !== false) {
        await openSide(page);
        await page.locator("input[type=file]").setInputFiles({
          name: "seed.json",
          mimeType: "application/json",
          buffer: Buffer.from(exported(now)),
        });
        await page.getByText("Sourdough that rises overnight").first().waitFor();
        await page.waitForTimeout(300);
        await page.reload();
        await page.waitForSelector("html[data-ready]");
      }
      await page.waitForTimeout(300);
      await shot.reach?.(page, stack);
    } catch (error) {
      console.log(`${name}: ${String(error).slice(0, 400)}`);
    }
    if (process.env.SHOTS_FONT)
      await page.evaluate((font) => {
        document.documentElement.style.fontFamily = font;
      }, `${process.env.SHOTS_FONT}, "Noto Sans CJK SC", sans-serif`);
    await page.waitForTimeout(250);
    await page.screenshot({ path: `${folder}/${name}.png` });
    await context.close();
  }
} finally {
  await browser.close();
  for (const stack of stacks.values()) await stack.stop();
}
