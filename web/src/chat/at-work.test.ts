/** Dots and a caret are shown only where an answer is being worked on. */
import { expect, test } from "vitest";
import type { LinkState } from "../connection/link";
import { answer, conversation, question } from "../testing/fake-store";
import { isAtWork } from "./at-work";
import type { UserMessage } from "./model";

const LIVE: LinkState = { kind: "live" };
const WAITING: LinkState = { kind: "waiting", until: 1, attempt: 1, cause: "restart" };

test.each<[LinkState, boolean, UserMessage["delivery"], boolean]>([
  [LIVE, false, "accepted", true],
  [LIVE, false, "queued", true],
  [LIVE, false, "stale", false],
  [{ kind: "live", doubted: 1 }, false, "accepted", false],
  [{ kind: "offline" }, false, "accepted", false],
  [WAITING, false, "accepted", false],
  // The old socket carries what was taken; what is new waits.
  [WAITING, true, "accepted", true],
  [WAITING, true, "queued", false],
  [LIVE, true, "queued", true],
])("link %j, leaving %s, question %s: %s", (link, linkLeaving, delivery, isSo) => {
  const open = { c: conversation(question({ delivery }), answer()) };
  expect(isAtWork({ link, linkLeaving, open }, "c", answer())).toBe(isSo);
});
