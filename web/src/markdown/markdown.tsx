/** Draws an answer's Markdown. */
import type { MarkdownProps } from "./contract";

export function Markdown({ text }: MarkdownProps) {
  return (
    <div dir="auto" style={{ whiteSpace: "pre-wrap" }}>
      {text}
    </div>
  );
}
