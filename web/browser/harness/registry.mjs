/** What the files of tests say: a name, how it wants to run, and what it does. */

export const tests = [];

/**
 * `goal`: of which its figures are; `alone`: nothing else may run meanwhile (it measures time);
 * `strict`: only with --goals; `allow`: console errors that belong to the fault which is provoked.
 */
export function test(name, options, run) {
  tests.push({ name, timeout: 60_000, ...options, run });
}

/** A fault of the network is told by Chromium on the console, too. */
export const NETWORK = [
  /WebSocket connection to/,
  /Failed to load resource/,
  /net::ERR_/,
  /WebSocket is already in CLOSING/,
];
