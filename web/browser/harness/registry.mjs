/** Registers tests: a name, options, and the function. */

export const tests = [];

/**
 * `goal`: the goal of its figures; `alone`: runs without others (it measures time); `strict`: only with --goals;
 * `seconds`: roughly how long it takes, where that is long: the longest start first, so that none is left at the end;
 * `allow`: expected console errors of the injected fault.
 */
export function test(name, options, run) {
  tests.push({ name, timeout: 60_000, seconds: 0, ...options, run });
}

/** Chromium also reports network errors on the console. */
export const NETWORK = [
  /WebSocket connection to/,
  /Failed to load resource/,
  /net::ERR_/,
  /WebSocket is already in CLOSING/,
];
