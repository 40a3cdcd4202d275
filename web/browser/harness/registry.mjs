/** Registers tests: a name, options, and the function. */

export const tests = [];

/**
 * `goal`: the goal of its figures; `alone`: runs without others (it measures time); `strict`: only with --goals;
 * `allow`: expected console errors of the injected fault.
 */
export function test(name, options, run) {
  tests.push({ name, timeout: 60_000, ...options, run });
}

/** Chromium also reports network errors on the console. */
export const NETWORK = [
  /WebSocket connection to/,
  /Failed to load resource/,
  /net::ERR_/,
  /WebSocket is already in CLOSING/,
];
