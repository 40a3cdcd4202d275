/** Figures of time are judged beside the machine's own lateness. */
import assert from "node:assert/strict";
import { exceeded, watchLateness } from "../harness/lateness.mjs";
import { test } from "../harness/registry.mjs";

test("a time may exceed its bound by what the machine is late, and nothing else may", {}, async (t) => {
  const bounds = { p99_ms: 200, main_ms: 2, drift_px: 1, over_20_percent: 5 };
  const fine = { p99_ms: 200, main_ms: 2, drift_px: 1, over_20_percent: 5 };
  assert.equal(exceeded(fine, bounds), "");
  assert.equal(exceeded({ ...fine, over_20_percent: 9, p99_ms: 250 }, bounds, 5), "");
  assert.match(exceeded({ ...fine, p99_ms: 251 }, bounds, 5), /^p99_ms is 251, at most 250 wanted$/);
  assert.match(exceeded({ ...fine, main_ms: 3 }, bounds, 5), /^main_ms is 3/, "processor time");
  assert.match(exceeded({ ...fine, drift_px: 2 }, bounds, 5), /^drift_px is 2/);
  assert.match(exceeded({ ...fine, over_20_percent: 9, p99_ms: 250 }, bounds), /250.*; over_20_percent is 9/);
  assert.match(exceeded({}, { p99_ms: 200 }, 5), /undefined/, "a figure that is missing");
  // This process stands still, as it does on a busy machine.
  const lateness = await watchLateness(t.browser);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const end = performance.now() + 300;
  while (performance.now() < end);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const worst = await lateness.worst();
  assert.ok(worst > 150, `${worst} ms`);
});
