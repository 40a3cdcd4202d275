/** Every code of the protocol has one remedy, and a sentence in both languages. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { en } from "../i18n/en";
import { zh } from "../i18n/zh";
import { REMEDIES, remedyOf } from "./remedy";

const PROTOCOL = readFileSync(join(import.meta.dirname, "../../../docs/PROTOCOL.md"), "utf8");

/** The rows of the table that follows a heading, first cell without its backquotes. */
function tableAfter(heading: string): [code: string, ...cells: string[]][] {
  const lines = PROTOCOL.slice(PROTOCOL.indexOf(`\n### ${heading}\n`) + 1).split("\n");
  const from = lines.findIndex((line) => line.startsWith("| code |"));
  const rows = lines.slice(from + 2);
  return rows
    .slice(
      0,
      rows.findIndex((line) => !line.startsWith("|")),
    )
    .map((line) => {
      const [code = "", ...cells] = line
        .slice(1, -1)
        .split("|")
        .map((cell) => cell.trim());
      return [code.replaceAll("`", ""), ...cells];
    });
}

const ENDED = tableAfter("An answer failed or broke off");
const REFUSED = tableAfter("Errors");
/** Repeating the same request does not help, but a new one does: see the table. */
const ASKED_ANEW = [
  "cancelled",
  "duplicate_request",
  "bad_resume",
  "taken_over",
  "model_not_found",
  "bad_parameter",
];

test("the table has every code of the protocol, and no other", () => {
  expect(ENDED.length).toBeGreaterThan(20);
  expect(REFUSED.length).toBeGreaterThan(10);
  const codes = new Set([...ENDED, ...REFUSED].map(([code]) => code));
  expect(Object.keys(REMEDIES).sort()).toEqual([...codes].sort());
});

test("every code has a sentence in both languages", () => {
  for (const words of [en, zh])
    expect(Object.keys(words.faults).sort()).toEqual(Object.keys(REMEDIES).sort());
});

test("what may be tried again is, and what is the operator's is not", () => {
  const list = /Worth trying again are\n([^.]*)\./.exec(PROTOCOL)?.[1] ?? "";
  const retryable = new Set([...list.matchAll(/`(\w+)`/g)].map((found) => found[1] as string));
  for (const [code, , answer] of REFUSED) if (answer === "yes") retryable.add(code);
  expect(retryable.size).toBeGreaterThan(15);
  for (const [code, remedy] of Object.entries(REMEDIES)) {
    const wanted = retryable.has(code) || ASKED_ANEW.includes(code);
    expect([code, remedy === "retry"]).toEqual([code, wanted]);
  }
  for (const [code, sentence = ""] of ENDED) {
    if (/operator/.test(sentence)) expect([code, REMEDIES[code]]).toEqual([code, "none"]);
  }
  for (const [code, sentence] of Object.entries(en.faults)) {
    if (/^[^.]*\. Tell the operator/.test(sentence)) expect([code, REMEDIES[code]]).toEqual([code, "none"]);
  }
});

test("an unknown code itself tells whether a retry may help", () => {
  const fault = (code: string, retryable: boolean) => ({ code, text: "", retryable });
  expect(remedyOf(fault("of_tomorrow", true))).toBe("retry");
  expect(remedyOf(fault("of_tomorrow", false))).toBe("none");
  expect(remedyOf(fault("constructor", false))).toBe("none");
  expect(remedyOf(undefined)).toBe("retry");
});
