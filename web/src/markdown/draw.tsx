/** Tokens to React elements. There is no way from a text to HTML here: every element is named below. */
import { createElement, type ReactNode } from "react";
import { compounds, fitOf, WORD_MAX } from "./cell";
import { CodeBlock } from "./code-block";
import type { Labels } from "./contract";
import { Formula } from "./formula";
import css from "./markdown.module.css";
import { outlineLevel } from "./outline";
import { isSafeLink, type Token } from "./parser";
import { TableBox } from "./table";

export interface Context {
  labels: Labels;
  /** Its last block may still grow. */
  isOpen: boolean;
  /** It stands in a link, and can be none itself. */
  isInLink?: boolean;
  /** It stands in a cell of a table, where no word is split. */
  isInCell?: boolean;
}

const TASK = /^\[([ xX])\]\s+/;
/** Elements that take no attribute and mean what their name says. */
const SIMPLE = new Set(["strong", "em", "s", "thead", "tbody", "tr"]);
/** They may be outermost blocks of a direction of their own. */
const DIRECTED = new Set(["p", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6"]);

function hostOf(url: string): string {
  try {
    return new URL(url).host;
  } catch {
    return url;
  }
}

function link(url: string, key: number, children: ReactNode): ReactNode {
  if (!isSafeLink(url)) return <span key={key}>{children}</span>;
  return (
    <a
      key={key}
      href={url}
      title={url}
      target="_blank"
      rel="noopener noreferrer nofollow"
      referrerPolicy="no-referrer"
    >
      {children}
    </a>
  );
}

const plainText = (tokens: Token[]): string =>
  tokens.map(({ content, children }) => (children ? plainText(children) : content)).join("");

const wholeIn = (word: string): string | undefined => (word.length <= WORD_MAX ? css.whole : undefined);

const cellText = (text: string): ReactNode => {
  const pieces = compounds(text);
  if (pieces.length === 1) return text;
  return pieces.map((piece, at) =>
    at % 2 === 0 ? (
      piece
    ) : (
      <span key={at} className={css.whole}>
        {piece}
      </span>
    ),
  );
};

/** Never fetched: whoever wrote it would learn that it was read. */
function image(token: Token, key: number, context: Context): ReactNode {
  const { labels } = context;
  const url = String(token.attrGet("src") ?? "");
  const name = token.content || labels.image;
  if (!isSafeLink(url)) return <span key={key}>{name}</span>;
  const said = `${labels.image}: ${name} (${hostOf(url)})`;
  return context.isInLink ? <span key={key}>{said}</span> : link(url, key, said);
}

/** One that has no partner: text, code, a rule. */
function leaf(token: Token, key: number, context: Context, isLast: boolean): ReactNode {
  switch (token.type) {
    case "text":
    case "text_special":
      return context.isInCell ? cellText(token.content) : token.content;
    case "inline":
      return drawAll(token.children ?? [], context);
    case "softbreak":
      return "\n";
    case "hardbreak":
      return <br key={key} />;
    case "code_inline":
      return (
        <code key={key} dir="ltr" className={context.isInCell ? wholeIn(token.content) : undefined}>
          {token.content}
        </code>
      );
    case "fence":
    case "code_block":
      return (
        <CodeBlock
          key={key}
          code={token.content}
          info={token.info}
          isOpen={context.isOpen && isLast}
          labels={context.labels}
        />
      );
    case "math_inline":
    case "math_block":
      return (
        <Formula
          key={key}
          source={token.content}
          isBlock={token.type === "math_block" || token.meta?.isBlock === true}
        />
      );
    case "image":
      return image(token, key, context);
    case "hr":
      return <hr key={key} />;
    default:
      // Nothing else is made by the parser; were it, its words would be shown.
      return token.content;
  }
}

function task(children: Token[], context: Context): { box: ReactNode; children: Token[] } | null {
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
  const { labels } = context;
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

/**
 * The outermost blocks follow their first letters, with the numbers of a list and the bar of a quotation. What is in them says nothing
 * of its own, or it would not be looked at: its lines follow their letters by style.
 */
const directed = (token: Token) => (token.level === 0 ? { dir: "auto" } : {});

function element(token: Token, inner: Token[], key: number, context: Context): ReactNode {
  const { tag } = token;
  if (token.type === "link_open")
    return link(String(token.attrGet("href") ?? ""), key, drawAll(inner, { ...context, isInLink: true }));
  if (token.type === "paragraph_open" && token.hidden)
    return <span key={key}>{drawAll(inner, context)}</span>;
  if (tag === "li") {
    const found = task(inner, context);
    return (
      <li key={key} className={found ? css.task : undefined}>
        {found?.box}
        {drawAll(found?.children ?? inner, context)}
      </li>
    );
  }
  if (tag === "th" || tag === "td") {
    const align = /text-align:(left|center|right)/.exec(String(token.attrGet("style") ?? ""))?.[1];
    const fit = fitOf(plainText(inner));
    const cell = drawAll(inner, { ...context, isInCell: true });
    return createElement(tag, { key, "data-align": align, "data-fit": fit }, cell);
  }
  const children = drawAll(inner, context);
  if (DIRECTED.has(tag)) {
    const name = /^h[1-6]$/.test(tag) ? `h${outlineLevel(token)}` : tag;
    return createElement(
      name,
      { key, ...directed(token), ...(name === tag ? {} : { "data-level": tag[1] }) },
      children,
    );
  }
  if (SIMPLE.has(tag)) return createElement(tag, { key }, children);
  switch (tag) {
    case "ul":
      return (
        <ul key={key} {...directed(token)}>
          {children}
        </ul>
      );
    case "ol": {
      const start = Number(token.attrGet("start") ?? 1);
      return (
        <ol key={key} {...directed(token)} start={Number.isSafeInteger(start) ? start : 1}>
          {children}
        </ol>
      );
    }
    case "table":
      return (
        <TableBox key={key} label={context.labels.table} {...directed(token)}>
          {children}
        </TableBox>
      );
    default:
      return children;
  }
}

function drawAll(tokens: Token[], context: Context): ReactNode[] {
  const drawn: ReactNode[] = [];
  for (let at = 0; at < tokens.length; at += 1) {
    const token = tokens[at] as Token;
    if (token.nesting !== 1) {
      if (token.nesting === 0) drawn.push(leaf(token, at, context, at === tokens.length - 1));
      continue;
    }
    let depth = 1;
    let end = at + 1;
    while (end < tokens.length) {
      depth += (tokens[end] as Token).nesting;
      if (depth === 0) break;
      end += 1;
    }
    drawn.push(element(token, tokens.slice(at + 1, end), at, context));
    at = end;
  }
  return drawn;
}

export function draw(tokens: Token[], context: Context): ReactNode {
  return drawAll(tokens, context);
}
