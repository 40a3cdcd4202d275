/** The list of conversations: new, search, rename, delete, export and import. */
import { Search, SquarePen } from "lucide-react";
import { useDeferredValue, useEffect, useRef, useState } from "react";
import type { Hit } from "../../chat/contract";
import type { Head } from "../../chat/model";
import { useActions, useChat } from "../../chat/use-chat";
import { useEscapeWithin } from "../../components/escape";
import { useText } from "../../i18n/use-text";
import { Entry } from "./entry";
import { Exchange } from "./exchange";
import css from "./sidebar.module.css";

type Period = "today" | "yesterday" | "week" | "older";
const PERIODS: Period[] = ["today", "yesterday", "week", "older"];
const DAY_MS = 86_400_000;
/** Rendered at once; the rest when the end is near. */
const PAGE = 60;

function periodOf(updated: number, now: number): Period {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  if (updated >= midnight) return "today";
  if (updated >= midnight - DAY_MS) return "yesterday";
  return updated >= midnight - 7 * DAY_MS ? "week" : "older";
}

interface Props {
  onOpen: (id: string, message?: string | null) => void;
  onNew: () => void;
}

/** Highlights the search terms. */
function Marked({ text, query }: { text: string; query: string }) {
  const at = text.toLowerCase().indexOf(query.toLowerCase());
  if (at < 0) return text;
  const end = at + query.length;
  return (
    <>
      {text.slice(0, at)}
      <mark>{text.slice(at, end)}</mark>
      {text.slice(end)}
    </>
  );
}

function Found({ query, onOpen }: { query: string; onOpen: Props["onOpen"] }) {
  const { words } = useText();
  const actions = useActions();
  const heads = useChat((state) => state.heads);
  const [hits, setHits] = useState<Hit[] | null>(null);
  useEffect(() => {
    let isCurrent = true;
    void actions.search(query).then((found) => isCurrent && setHits(found));
    return () => {
      isCurrent = false;
    };
  }, [actions, query]);
  if (hits === null) return null;
  return (
    <>
      <p role="status" className={hits.length === 0 ? css.note : "offscreen"}>
        {hits.length === 0 ? words.nothingFound : hits.length}
      </p>
      <ul className={css.list}>
        {hits.map((hit) => (
          <li key={hit.conversation}>
            <button type="button" className={css.hit} onClick={() => onOpen(hit.conversation, hit.message)}>
              <b dir="auto">{heads.find(({ id }) => id === hit.conversation)?.title || words.untitled}</b>
              {hit.excerpt !== "" && (
                <span dir="auto">
                  <Marked text={hit.excerpt} query={query} />
                </span>
              )}
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}

/** The operator's links: help, terms, contact. */
function Links() {
  const { words } = useText();
  const links = useChat((state) => state.operator.links);
  if (links.length === 0) return null;
  return (
    <ul className={css.links} aria-label={words.links} data-foreign>
      {links.map(({ label, url }) => (
        <li key={`${label} ${url}`}>
          <a
            href={url}
            dir="auto"
            rel="noopener noreferrer"
            target={url.startsWith("mailto:") ? undefined : "_blank"}
          >
            {label}
          </a>
        </li>
      ))}
    </ul>
  );
}

function Groups({ heads, onOpen }: { heads: Head[]; onOpen: Props["onOpen"] }) {
  const { words } = useText();
  const now = Date.now();
  return PERIODS.map((period) => {
    const own = heads.filter(({ updated }) => periodOf(updated, now) === period);
    if (own.length === 0) return null;
    return (
      <section key={period} aria-label={words[period]}>
        <h2>{words[period]}</h2>
        <ul className={css.list}>
          {own.map((head) => (
            <Entry key={head.id} head={head} onOpen={onOpen} />
          ))}
        </ul>
      </section>
    );
  });
}

export function Sidebar({ onOpen, onNew }: Props) {
  const { words } = useText();
  const heads = useChat((state) => state.heads);
  const isReady = useChat((state) => state.ready);
  const [query, setQuery] = useState("");
  const [count, setCount] = useState(PAGE);
  const field = useRef<HTMLInputElement>(null);
  const wanted = useDeferredValue(query.trim());
  useEscapeWithin(field, () => {
    setQuery("");
    return query !== "";
  });
  return (
    <div className={css.sidebar}>
      <button type="button" className={css.fresh} onClick={onNew}>
        <SquarePen aria-hidden size={16} /> {words.newChat}
      </button>
      <div className={css.search}>
        <Search aria-hidden size={15} />
        <input
          ref={field}
          id="search"
          type="search"
          aria-label={words.search}
          placeholder={words.search}
          value={query}
          onChange={(event) => setQuery(event.target.value)}
        />
      </div>
      <nav
        aria-label={words.conversations}
        className={css.entries}
        onScroll={({ currentTarget: box }) => {
          if (box.scrollHeight - box.scrollTop - box.clientHeight < 400 && count < heads.length)
            setCount(count + PAGE);
        }}
      >
        {wanted !== "" ? (
          <Found query={wanted} onOpen={onOpen} />
        ) : (
          <>
            {isReady && heads.length === 0 && <p className={css.note}>{words.noConversations}</p>}
            <Groups heads={heads.slice(0, count)} onOpen={onOpen} />
          </>
        )}
      </nav>
      <Exchange />
      <Links />
    </div>
  );
}
