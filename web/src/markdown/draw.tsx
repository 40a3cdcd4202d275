/** Tokens to React elements. There is no way from a text to HTML here: every element is named below. */
import { createElement, type ReactNode } from "react";
import { fitOf } from "./cell";
import { cellText, plainText, wholeIn } from "./cell-text";
import { CodeBlock } from "./code-block";
import type { Labels } from "./contract";
import { Formula } from "./formula";
import css from "./markdown.module.css";
import { NoteReference } from "./notes";
import { outlineLevel } from "./outline";
import { isSafeLink, type Token } from "./parser";
import { Pending } from "./pending";
import { TableBox } from "./table";
import { task } from "./task";

export interface Context {
  /** The message's id. */
  id: string;
  labels: Labels;
  /** Its last block may still grow. */
  isOpen: boolean;
  /** Inside of a link, which cannot contain another one. */
  isInLink?: boolean;
  /** Inside of a table cell, where no word is split. */
  isInCell?: boolean;
}

/** A longer formula is shown as its source: typesetting it would block the page. */
const FORMULA_MAX = 10_000;
/** Elements that take no attribute and mean what their name says. */
const SIMPLE = new Set(["strong", "em", "s", "thead", "tbody", "tr"]);
/** May be outermost blocks, with their own text direction. */
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

/** Never fetched: its author would learn that it was read. */
function image(token: Token, key: number, context: Context): ReactNode {
  const { labels } = context;
  const url = String(token.attrGet("src") ?? "");
  const name = plainText(token.children ?? []) || labels.image;
  if (!isSafeLink(url)) return <span key={key}>{name}</span>;
  const label = `${labels.image}: ${name} (${hostOf(url)})`;
  return context.isInLink ? <span key={key}>{label}</span> : link(url, key, label);
}

function formula(token: Token, key: number, { labels }: Context): ReactNode {
  const isBlock = token.type === "math_block" || token.meta?.isBlock === true;
  if (token.content.length > FORMULA_MAX) {
    const isOpen = token.meta?.isOpen === true;
    return (
      <CodeBlock
        key={key}
        code={token.content}
        info=""
        note={labels.longFormula}
        isOpen={isOpen}
        labels={labels}
      />
    );
  }
  // While incomplete, its source is unreadable, and most prefixes are not formulas.
  if (token.meta?.isOpen) return <Pending key={key} label={labels.formula} isBlock={isBlock} />;
  return <Formula key={key} source={token.content} isBlock={isBlock} label={labels.formula} />;
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
      return formula(token, key, context);
    case "note_reference":
      return <NoteReference key={key} token={token} message={context.id} labels={context.labels} />;
    case "image_open":
      return <span key={key}>{`${context.labels.image}: ${token.content}`}</span>;
    case "image":
      return image(token, key, context);
    case "hr":
      return <hr key={key} />;
    default:
      // The parser creates nothing else; if it did, its text would be shown.
      return token.content;
  }
}

/**
 * The direction of outermost blocks follows their first letters, including list numbers and quote bars. Inner elements
 * have no direction of their own; their lines follow their letters by style.
 */
const directed = (token: Token) => (token.level === 0 ? { dir: "auto" } : {});

function element(token: Token, inner: Token[], key: number, context: Context): ReactNode {
  const { tag } = token;
  if (token.type === "link_open")
    return link(String(token.attrGet("href") ?? ""), key, drawAll(inner, { ...context, isInLink: true }));
  if (token.type === "paragraph_open" && token.hidden)
    return <span key={key}>{drawAll(inner, context)}</span>;
  if (token.type === "link_pending_open")
    return (
      <span key={key} className={css.pendingLink}>
        {drawAll(inner, { ...context, isInLink: true })}
      </span>
    );
  // Footnotes are at the end of the message.
  if (token.type === "note_open") return null;
  if (tag === "li") {
    const found = task(inner, context.labels);
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
    case "details":
      return (
        <details key={key} className={css.details} {...directed(token)} open={token.meta?.isOpen === true}>
          {children}
        </details>
      );
    case "summary":
      return <summary key={key}>{plainText(inner) === "" ? context.labels.details : children}</summary>;
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
