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
      <div className={css.plain} dir="auto" data-plain>
        {block.plain}
      </div>
    );
  }
  return draw(block.tokens, { labels, isOpen });
});

/** So many blocks, at least, are laid out and looked at as one when the next words come. */
const GROUP = 24;

/** The first block of each group. What follows a rule keeps its distance to it, so that no group may end with one. */
function startsOf(blocks: Block[]): number[] {
  const starts = [0];
  for (let at = GROUP; at <= blocks.length; at += 1) {
    if (at - (starts.at(-1) ?? 0) >= GROUP && blocks[at - 1]?.tokens[0]?.type !== "hr") starts.push(at);
  }
  return starts;
}

interface GroupProps {
  blocks: Block[];
  from: number;
  to: number;
  /** Of the last group: what is still being written. It has the name that it will have when it is finished, and stays where it is. */
  tail: Block | null;
  labels: Labels;
}

// A block never changes; a text that begins anew has others.
const isSame = (a: GroupProps, b: GroupProps): boolean =>
  a.from === b.from &&
  a.to === b.to &&
  a.tail === b.tail &&
  a.labels === b.labels &&
  a.blocks[a.from] === b.blocks[b.from];

const GroupView = memo(function GroupView({ blocks, from, to, tail, labels }: GroupProps) {
  const finished = blocks.slice(from, to);
  return (
    <div className={css.group}>
      {(tail ? [...finished, tail] : finished).map((block) => (
        <BlockView key={block.key} block={block} isOpen={block === tail} labels={labels} />
      ))}
    </div>
  );
}, isSame);

export function Markdown({ id, text, done, labels }: MarkdownProps) {
  const { blocks, tail } = splitterOf(id).update(text, done);
  const starts = startsOf(blocks);
  return (
    <div className={css.markdown}>
      {starts.map((from, at) => {
        const to = starts[at + 1] ?? blocks.length;
        const open = at === starts.length - 1 ? tail : null;
        if (from === to && !open) return null;
        return <GroupView key={from} blocks={blocks} from={from} to={to} tail={open} labels={labels} />;
      })}
    </div>
  );
}
