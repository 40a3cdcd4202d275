/** Renders an answer's Markdown: final blocks once, the open one in every frame. */
import { memo } from "react";
import type { Labels, MarkdownProps } from "./contract";
import { draw } from "./draw";
import css from "./markdown.module.css";
import { Note, notesOf } from "./notes";
import type { Token } from "./parser";
import { type Block, type Split, splitterOf } from "./splitter";

interface BlockProps {
  id: string;
  block: Block;
  isOpen: boolean;
  labels: Labels;
}

const BlockView = memo(function BlockView({ id, block, isOpen, labels }: BlockProps) {
  if (block.plain !== undefined) {
    return (
      <div className={css.plain} dir="auto" data-plain>
        {block.plain}
      </div>
    );
  }
  return draw(block.tokens, { id, labels, isOpen });
});

/** Minimum number of blocks per group; a group is laid out as one when text is appended. */
const GROUP = 24;

/** The first block of each group. The spacing after a rule depends on it, so no group may end with one. */
function startsOf(blocks: Block[]): number[] {
  const starts = [0];
  for (let at = GROUP; at <= blocks.length; at += 1) {
    if (at - (starts.at(-1) ?? 0) >= GROUP && blocks[at - 1]?.tokens[0]?.type !== "hr") starts.push(at);
  }
  return starts;
}

interface GroupProps {
  id: string;
  blocks: Block[];
  from: number;
  to: number;
  /** The growing block, in the last group. It has its final key and stays in place. */
  tail: Block | null;
  labels: Labels;
}

// A block never changes; a reset text has other blocks, and the pieces of a long one become one.
const isSame = (a: GroupProps, b: GroupProps): boolean =>
  a.id === b.id &&
  a.from === b.from &&
  a.to === b.to &&
  a.tail === b.tail &&
  a.labels === b.labels &&
  a.blocks[a.from] === b.blocks[b.from] &&
  a.blocks[a.to - 1] === b.blocks[b.to - 1];

const GroupView = memo(function GroupView({ id, blocks, from, to, tail, labels }: GroupProps) {
  const finished = blocks.slice(from, to);
  return (
    <div className={css.group}>
      {(tail ? [...finished, tail] : finished).map((block) => (
        <BlockView key={block.key} id={id} block={block} isOpen={block === tail} labels={labels} />
      ))}
    </div>
  );
}, isSame);

interface NoteViewProps {
  id: string;
  tokens: Token[];
  refs: number;
  labels: Labels;
}

const NoteView = memo(function NoteView({ id, tokens, refs, labels }: NoteViewProps) {
  const [first, ...inner] = tokens;
  if (!first) return null;
  return (
    <Note token={first} message={id} labels={labels} refs={refs}>
      {draw(inner, { id, labels, isOpen: false })}
    </Note>
  );
});

function Notes({ id, split, labels }: { id: string; split: Split; labels: Labels }) {
  const { blocks, tail, notes } = split;
  const all = blocks.flatMap(({ tokens }) => (tokens[0]?.type === "note_open" ? notesOf(tokens) : []));
  if (tail) all.push(...notesOf(tail.tokens));
  if (all.length === 0) return null;
  return (
    <section className={css.notes} role="doc-endnotes" aria-label={labels.notes}>
      <ol>
        {all.map((tokens, at) => (
          <NoteView
            key={at}
            id={id}
            tokens={tokens}
            refs={notes.get(String(tokens[0]?.meta?.label))?.refs ?? 0}
            labels={labels}
          />
        ))}
      </ol>
    </section>
  );
}

export function Markdown({ id, text, done, labels }: MarkdownProps) {
  const split = splitterOf(id).update(text, done);
  const { blocks, tail } = split;
  const starts = startsOf(blocks);
  return (
    <div className={css.markdown}>
      {starts.map((from, at) => {
        const to = starts[at + 1] ?? blocks.length;
        const open = at === starts.length - 1 ? tail : null;
        if (from === to && !open) return null;
        return (
          <GroupView key={from} id={id} blocks={blocks} from={from} to={to} tail={open} labels={labels} />
        );
      })}
      {split.notes.size > 0 && <Notes id={id} split={split} labels={labels} />}
    </div>
  );
}
