/** The response of a draining gateway is recognized, and nothing else is mistaken for it. */
import { afterEach, expect, test, vi } from "vitest";
import { NotNow } from "../connection/link";
import { fetchConfig } from "./page-config";

afterEach(() => vi.unstubAllGlobals());

const answering = (status: number, body: string, headers: Record<string, string> = {}) =>
  vi.stubGlobal("fetch", async () => new Response(body, { status, headers }));

test.each([
  ["7", 7_000],
  ["", 5_000],
  ["Mon, 30 Nov 2026 09:00:00 GMT", 5_000],
  ["-3", 5_000],
])("draining, Retry-After: %s", async (after, ms) => {
  answering(503, '{"code":"draining"}', { "retry-after": after });
  const error = await fetchConfig().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(NotNow);
  expect(error).toMatchObject({ afterMs: ms });
});

test.each([
  [503, "the service is not available\n"],
  [503, '{"code":"unavailable"}'],
  [503, "null"],
  [429, '{"code":"draining"}'],
  [500, ""],
])("%i %s is a fault like any other", async (status, body) => {
  answering(status, body, { "retry-after": "5" });
  const error = await fetchConfig().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(Error);
  expect(error).not.toBeInstanceOf(NotNow);
});
