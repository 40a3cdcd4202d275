/** The operator's title, notice and links. Stored, so that they are shown before the gateway answers. */
import { readLocal, writeLocal } from "../storage/local";

export interface Operator {
  /** Empty: the page's own name. */
  title: string;
  /** Empty: none. */
  notice: string;
  links: { label: string; url: string }[];
}

/** Title of the page without one from the operator. */
export const OWN_NAME = "Tidegate";

const KEY = "tidegate.operator";
/** Limits as in the gateway's keys; longer values are cut. */
const TITLE_MAX = 120;
const NOTICE_MAX = 1024;
const LINKS_MAX = 8;
const LABEL_MAX = 60;

type Fields = Record<string, unknown>;
const fields = (value: unknown): Fields =>
  typeof value === "object" && value !== null ? (value as Fields) : {};
const text = (value: unknown, max: number): string =>
  typeof value === "string" ? value.trim().slice(0, max) : "";

/** An absolute address with a harmless scheme, as normalized by the browser. */
function address(value: unknown): string {
  try {
    const url = new URL(text(value, 2048));
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : "";
  } catch {
    return "";
  }
}

export function readOperator(value: unknown): Operator {
  const { title, notice, links } = fields(value);
  return {
    title: text(title, TITLE_MAX),
    notice: text(notice, NOTICE_MAX),
    links: (Array.isArray(links) ? links.slice(0, LINKS_MAX) : []).flatMap((entry) => {
      const link = { label: text(fields(entry).label, LABEL_MAX), url: address(fields(entry).url) };
      return link.label !== "" && link.url !== "" ? [link] : [];
    }),
  };
}

export function keptOperator(): Operator {
  try {
    return readOperator(JSON.parse(readLocal(KEY) ?? "{}"));
  } catch {
    return readOperator({});
  }
}

export function keepOperator(operator: Operator): void {
  writeLocal(KEY, JSON.stringify(operator));
}
