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

/** So many finished blocks, at least, are laid out and looked at as one when the next words come. */
const GROUP = 24;

/** The ends of groups. What follows a rule keeps its distance to it, so that no group may end with one. */
function endsOf(blocks: Block[]): number[] {
  const ends: number[] = [];
  for (let at = GROUP; at <= blocks.length; at += 1) {
    if (at - (ends.at(-1) ?? 0) >= GROUP && blocks[at - 1]?.tokens[0]?.type !== "hr") ends.push(at);
  }
  return ends;
}

interface GroupProps {
  blocks: Block[];
  from: number;
  to: number;
  labels: Labels;
}

// A block never changes; a text that begins anew has others.
const isSame = (a: GroupProps, b: GroupProps): boolean =>
  a.from === b.from && a.to === b.to && a.labels === b.labels && a.blocks[a.from] === b.blocks[b.from];

const GroupView = memo(function GroupView({ blocks, from, to, labels }: GroupProps) {
  return (
    <div className={css.group}>
      {blocks.slice(from, to).map((block) => (
        <BlockView key={block.key} block={block} isOpen={false} labels={labels} />
      ))}
    </div>
  );
}, isSame);

export function Markdown({ id, text, done, labels }: MarkdownProps) {
  const { blocks, tail } = splitterOf(id).update(text, done);
  const ends = endsOf(blocks);
  return (
    <div className={css.markdown}>
      {ends.map((to, at) => {
        const from = ends[at - 1] ?? 0;
        return <GroupView key={blocks[from]?.key} blocks={blocks} from={from} to={to} labels={labels} />;
      })}
      {blocks.slice(ends.at(-1) ?? 0).map((block) => (
        <BlockView key={block.key} block={block} isOpen={false} labels={labels} />
      ))}
      {tail && <BlockView key="tail" block={tail} isOpen labels={labels} />}
    </div>
  );
}
