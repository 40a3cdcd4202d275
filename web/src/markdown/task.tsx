/** A list item that begins with `[ ]` or `[x]`: a read-only checkbox. */
import type { ReactNode } from "react";
import type { Labels } from "./contract";
import type { Token } from "./parser";

const TASK = /^\[([ xX])\]\s+/;

export function task(children: Token[], labels: Labels): { box: ReactNode; children: Token[] } | null {
  const at = children.findIndex(({ type }) => type === "inline");
  const inline = children[at];
  const first = inline?.children?.[0];
  const found = first?.type === "text" ? TASK.exec(first.content) : null;
  if (!inline || !first || !found || at > 1) return null;
  const text = Object.assign(Object.create(Object.getPrototypeOf(first)), first, {
    content: first.content.slice(found[0].length),
  }) as Token;
  const rest = Object.assign(Object.create(Object.getPrototypeOf(inline)), inline, {
    children: [text, ...(inline.children ?? []).slice(1)],
  }) as Token;
  const isDone = found[1] !== " ";
  const box = (
    <input
      key="box"
      type="checkbox"
      disabled
      checked={isDone}
      readOnly
      aria-label={isDone ? labels.done : labels.open}
    />
  );
  return { box, children: children.map((token, index) => (index === at ? rest : token)) };
}
