/** Draws an answer's Markdown: what is final once, and what is open again with every frame. */
import { memo } from "react";
import type { Labels, MarkdownProps } from "./contract";
import { draw } from "./draw";
import css from "./markdown.module.css";
import { type Block, splitterOf } from "./splitter";

const BlockView = memo(function BlockView(props: { block: Block; isOpen: boolean; labels: Labels }) {
  const { block, isOpen, labels } = props;
  if (block.plain !== undefined) {
    return (
      <div className={css.plain} dir="auto">
        {block.plain}
      </div>
    );
  }
  return draw(block.tokens, { labels, isOpen });
});

export function Markdown({ id, text, done, labels }: MarkdownProps) {
  const { blocks, tail } = splitterOf(id).update(text, done);
  return (
    <div className={css.markdown}>
      {blocks.map((block) => (
        <BlockView key={block.key} block={block} isOpen={false} labels={labels} />
      ))}
      {tail && <BlockView key="tail" block={tail} isOpen labels={labels} />}
    </div>
  );
}
