/** Debian's Chromium, a fresh profile for each test, and pages that fail on forbidden behaviour. */
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";

export function launch({ args = [] } = {}) {
  if (!existsSync(EXECUTABLE)) throw new Error(`${EXECUTABLE} is not there: apt-get install chromium`);
  return chromium.launch({
    executablePath: EXECUTABLE,
    args: [
      "--no-sandbox",
      "--disable-dev-shm-usage",
      "--disable-component-update",
      "--disable-sync",
      ...args,
    ],
  });
}

/** Runs in the page first: reports violations of the policy. */
function tellViolations() {
  addEventListener("securitypolicyviolation", (event) => {
    console.error(`policy: ${event.violatedDirective} refused ${event.blockedURI} ${event.sample}`);
  });
}

/** A context whose pages are monitored; `check` throws their violations. */
export async function newContext(browser, { url, allow = [], ...options }) {
  // Only tests of the service worker enable it, because its responses cannot be intercepted.
  const context = await browser.newContext({ locale: "en-US", serviceWorkers: "block", ...options });
  context.setDefaultTimeout(30_000);
  const wrong = [];
  const allowed = (text) =>
    text.startsWith("Service Worker registration blocked") || allow.some((pattern) => pattern.test(text));
  const origin = new URL(url).host;
  await context.addInitScript(tellViolations);
  context.on("request", (request) => {
    const address = new URL(request.url());
    if (address.host !== origin && !["data:", "blob:"].includes(address.protocol)) {
      wrong.push(`a request to elsewhere: ${request.url()}`);
    }
  });
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !allowed(message.text())) {
      wrong.push(`console: ${message.text()} ${message.location().url}`);
    }
  });
  context.on("weberror", (error) => {
    if (!allowed(String(error.error()))) wrong.push(`page error: ${error.error()?.stack ?? error.error()}`);
  });
  context.on("page", (page) => {
    page.on("websocket", (socket) => {
      if (new URL(socket.url()).host !== origin) wrong.push(`a socket to elsewhere: ${socket.url()}`);
    });
  });
  return {
    context,
    wrong,
    allow: (pattern) => allow.push(pattern),
    check() {
      if (wrong.length > 0)
        throw new Error(`the page did what it may not:\n  ${wrong.slice(0, 8).join("\n  ")}`);
    },
  };
}

export async function cdp(page) {
  return await page.context().newCDPSession(page);
}
