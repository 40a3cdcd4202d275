/** Formulas are set with the maths font, which comes with the first of them and not before. */
import assert from "node:assert/strict";
import { answered, answers, open, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { newContext } from "../harness/chromium.mjs";
import { round } from "../harness/figures.mjs";
import { against } from "../harness/pictures.mjs";
import { simText } from "../harness/prompts.mjs";
import { NETWORK, test } from "../harness/registry.mjs";

const tex = String.raw;
/** By the names of their pictures. */
const FORMULAS = {
  sum: tex`\sum_{n=1}^{\infty} \frac{1}{n^2} = \frac{\pi^2}{6}`,
  integral: tex`\int_{-\infty}^{\infty} e^{-x^2}\,dx = \sqrt{\pi}`,
  limit: tex`\lim_{x \to 0} \frac{\sin x}{x} = 1`,
  matrix: tex`\begin{pmatrix} a & b \\ c & d \end{pmatrix}^{-1} = \frac{1}{ad-bc}\begin{bmatrix} d & -b \\ -c & a \end{bmatrix}`,
  root: tex`\sqrt[3]{\frac{1+\sqrt{1+x}}{1+\frac{1}{x}}}`,
  accents: tex`\hat{x}, \vec{v}, \bar{z}, \widehat{abc}, \widetilde{abc}, \overline{AB}, f''(x)`,
  letters: tex`\mathbb{R}, \mathcal{L}, \mathfrak{g}, \mathbf{v}, \boldsymbol{\alpha}`,
  cases: tex`f(x) = \begin{cases} x^2 & \text{if } x \ge 0 \\ -x & \text{otherwise} \end{cases}`,
  braces: tex`\overbrace{a+b}^{n} + \underbrace{c+d}_{m} \xrightarrow{k} \boxed{E = mc^2}`,
};
/** High enough that no formula lies beneath the header. */
const WINDOW = { colorScheme: "light", viewport: { width: 1280, height: 1500 } };
const ANSWER = Object.values(FORMULAS)
  .map((formula) => `$$\n${formula}\n$$`)
  .join("\n\n");

async function show(page, stack) {
  await open(page, stack);
  await say(page, simText(ANSWER));
  await answered(page);
  const formulas = answers(page).last().locator("math");
  await until("all formulas", async () => (await formulas.count()) === Object.keys(FORMULAS).length);
  return formulas;
}

const named = (formulas, name) => formulas.nth(Object.keys(FORMULAS).indexOf(name));
const boxes = (formula, selector) =>
  formula
    .locator(selector)
    .evaluateAll((all) =>
      all
        .map((one) => one.getBoundingClientRect())
        .map(({ x, y, width, height }) => ({ x, y, width, height })),
    );

/** What a reader would see at once, whatever the version of the browser. */
async function checkShapes(formulas) {
  const [sign, below, above] = await boxes(named(formulas, "sum"), "munderover > *");
  const [one] = await boxes(named(formulas, "sum"), "mfrac > mn");
  assert.ok(sign.height > 1.6 * one.height, `the sum is larger than a digit: ${sign.height}, ${one.height}`);
  assert.ok(above.y + above.height <= sign.y + 2, "its upper limit is above");
  assert.ok(below.y >= sign.y + sign.height - 2, "its lower limit is below");
  const [integral] = await boxes(named(formulas, "integral"), "msubsup > mo");
  assert.ok(integral.height > 1.6 * one.height, "the integral is larger than a digit");
  const [name, towards] = await boxes(named(formulas, "limit"), "munder > *");
  assert.ok(towards.y >= name.y + name.height - 2, "what goes to the limit is below its name");
  const [table] = await boxes(named(formulas, "matrix"), "mtable");
  const [paren] = await boxes(named(formulas, "matrix"), "mo[fence]");
  assert.ok(paren.height >= 0.9 * table.height, "the bracket is as high as the matrix");
  const [root] = await boxes(named(formulas, "root"), "mroot");
  const [fraction] = await boxes(named(formulas, "root"), "mroot > mfrac, mroot > mrow");
  assert.ok(root.y < fraction.y && root.x < fraction.x, "the root covers what is in it");
  assert.ok(root.x + root.width >= fraction.x + fraction.width - 1, "up to its end");
  const [brace] = await boxes(named(formulas, "cases"), "mo[fence]");
  const [rows] = await boxes(named(formulas, "cases"), "mtable");
  assert.ok(brace.height >= 0.9 * rows.height, "the brace is as high as its cases");
}

/** For each formula how much its picture differs from the stored one. */
async function differences(browser, formulas) {
  const blank = await browser.newPage();
  const found = {};
  for (const name of Object.keys(FORMULAS)) {
    const png = await named(formulas, name).screenshot();
    found[name] = await against(blank, `maths-${name}`, png);
  }
  await blank.close();
  return found;
}

const isSame = ({ strange, size }) => strange <= 0.04 && size <= 0.05;

test("sums, fractions, roots, matrices and limits look as in the stored pictures", {
  goal: "maths",
}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack, WINDOW);
  const formulas = await show(page, stack);
  await checkShapes(formulas);
  const found = await differences(t.browser, formulas);
  for (const [name, difference] of Object.entries(found))
    assert.ok(isSame(difference), `${name} differs: ${JSON.stringify(difference)}`);
  t.figure({
    case: "pictures",
    worst_ink: round(Math.max(...Object.values(found).map(({ strange }) => strange)), 4),
    worst_size: round(Math.max(...Object.values(found).map(({ size }) => size)), 4),
  });
});

test("without the maths font the pictures are others", { goal: "maths", allow: NETWORK }, async (t) => {
  const stack = await t.stack({ nginx: false });
  const page = await t.page(stack, WINDOW);
  await page.route(/\.woff2$/, (route) => route.abort());
  const formulas = await show(page, stack);
  if (process.env.BLESS) return;
  const found = Object.values(await differences(t.browser, formulas));
  assert.ok(found.filter(isSame).length <= 1, JSON.stringify(found));
});

test("the maths font comes with the first formula, and no formula is drawn before it", {
  goal: "maths",
}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const { context, check } = await newContext(t.browser, { url: stack.url });
  t.after(() => context.close());
  await context.addInitScript(() => {
    globalThis.drawnWith = [];
    addEventListener("DOMContentLoaded", () => {
      new MutationObserver(() => {
        if (document.querySelector("math"))
          globalThis.drawnWith.push(document.fonts.check('1em "Tidegate Maths"', "∑"));
      }).observe(document.body, { childList: true, subtree: true });
    });
  });
  const page = await context.newPage();
  const fonts = [];
  await page.route(/\.woff2$/, async (route) => {
    fonts.push(new URL(route.request().url()).pathname);
    await new Promise((resolve) => setTimeout(resolve, 400));
    await route.continue();
  });
  await open(page, stack);
  await say(page, simText("No **formula** yet: it costs $5."));
  await answered(page);
  assert.deepEqual(fonts, []);
  await say(page, simText(tex`Now one: $e^{i\pi} + 1 = 0$, and another: $\frac{1}{2}$.`));
  await answered(page, { count: 2 });
  await page.locator("math").nth(1).waitFor();
  assert.equal(fonts.length, 1);
  assert.match(fonts[0], /^\/assets\/maths-[0-9a-f]{8}\.woff2$/);
  const drawnWith = await page.evaluate(() => globalThis.drawnWith);
  assert.ok(drawnWith.length > 0 && drawnWith.every(Boolean), `font there: ${drawnWith}`);
  const served = await fetch(stack.url + fonts[0]);
  assert.equal(served.headers.get("content-type"), "font/woff2");
  assert.match(served.headers.get("cache-control"), /immutable/);
  check();
});
