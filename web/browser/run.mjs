/**
 * Runs the tests in a real browser: `npm run browser [-- WORDS… --goals --list --runs=N --jobs=N --direct]`.
 * `--goals`: what measures time, at full length, alone, five times, held to the goals. Each figure is one line of JSON.
 */
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { launch } from "./harness/chromium.mjs";
import { summary } from "./harness/figures.mjs";
import { tests } from "./harness/registry.mjs";
import { runTest } from "./harness/runner.mjs";

const args = process.argv.slice(2);
const flag = (name) => args.includes(`--${name}`);
const value = (name, otherwise) => {
  const found = args.find((arg) => arg.startsWith(`--${name}=`));
  return found ? found.slice(name.length + 3) : otherwise;
};
const words = args.filter((arg) => !arg.startsWith("--"));
const goals = flag("goals");
const runs = Number(value("runs", goals ? "5" : "1"));
// Most of a test is waiting: for a model's pace, for the page's own timers.
const jobs = Number(value("jobs", String(2 * availableParallelism())));

const folder = new URL("./tests/", import.meta.url);
for (const name of (await readdir(folder)).sort()) {
  if (name.endsWith(".test.mjs")) await import(new URL(name, folder));
}
const wanted = tests.filter((test) => {
  if (words.length > 0 && !words.some((word) => test.name.includes(word) || test.goal === word)) return false;
  if (goals) return test.alone === true;
  return words.length > 0 || !test.strict;
});
if (flag("list")) {
  for (const test of wanted) console.log(`${test.goal ?? "-"}\t${test.name}`);
  process.exit(0);
}
if (wanted.length === 0) {
  console.error("no test has such a name; --list shows them all");
  process.exit(64);
}

// Chromium is ended by its driver; other children with this process.
for (const signal of ["SIGTERM", "SIGINT"])
  process.once(signal, () => setTimeout(() => process.exit(143), 1000));

const results = [];
const began = Date.now();

async function run(test, browser) {
  const result = await runTest(test, browser, { goals, direct: flag("direct") });
  results.push(result);
  console.log(`${result.error ? "FAIL" : "ok  "} ${test.name} (${(result.ms / 1000).toFixed(1)} s)`);
  for (const figure of result.figures) console.log(JSON.stringify(figure));
  if (result.error) console.log(indent(result.error));
}

const indent = (error) => String(error?.stack ?? error).replace(/^/gm, "     ");

// First independent tests, a few at a time, the longest of them first; then those that measure, one by one.
const queue = goals ? [] : wanted.filter((test) => !test.alone).sort((a, b) => b.seconds - a.seconds);
const workers = Array.from({ length: Math.min(jobs, queue.length) }, async () => {
  let browser = await launch();
  while (queue.length > 0) {
    await run(queue.shift(), browser);
    if (!browser.isConnected()) browser = await launch();
  }
  await browser.close();
});
await Promise.all(workers);
for (const test of wanted.filter((test) => test.alone)) {
  for (let round = 0; round < runs; round++) {
    const browser = await launch({ args: test.chromium });
    await run(test, browser);
    await browser.close();
  }
}

if (goals) {
  const lines = summary(results);
  for (const line of lines) console.log(JSON.stringify(line));
  await mkdir(new URL("./results/", import.meta.url), { recursive: true });
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  await writeFile(
    new URL(
      `./results/goals-${new Date().toISOString().slice(0, 16).replace(":", "")}.jsonl`,
      import.meta.url,
    ),
    text,
  );
}
const failed = results.filter((result) => result.error);
console.log(
  `${results.length - failed.length} of ${results.length} passed in ${((Date.now() - began) / 1000).toFixed(0)} s`,
);
process.exit(failed.length > 0 ? 1 : 0);
