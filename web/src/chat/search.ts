/** Finds words in titles and messages. */
import type { Hit } from "./contract";
import type { Conversation, Head } from "./model";

export const HITS_MAX = 50;
const BEFORE_CHARS = 24;
const EXCERPT_CHARS = 120;
/** Conversations that are read from storage at once. */
const BATCH = 50;

function excerpt(text: string, at: number): string {
  const from = Math.max(0, at - BEFORE_CHARS);
  const cut = text.slice(from, from + EXCERPT_CHARS).replace(/\s+/g, " ");
  return `${from > 0 ? "…" : ""}${cut}${from + EXCERPT_CHARS < text.length ? "…" : ""}`;
}

function hitIn(conversation: Conversation, wanted: string): Hit | undefined {
  for (const message of Object.values(conversation.messages)) {
    const at = message.text.toLowerCase().indexOf(wanted);
    if (at >= 0)
      return { conversation: conversation.id, message: message.id, excerpt: excerpt(message.text, at) };
  }
  const inTitle = conversation.title.toLowerCase().includes(wanted);
  return inTitle ? { conversation: conversation.id, message: null, excerpt: "" } : undefined;
}

export async function search(
  query: string,
  heads: Head[],
  loadAll: (ids: string[]) => Promise<Conversation[]>,
): Promise<Hit[]> {
  const wanted = query.trim().toLowerCase();
  const hits: Hit[] = [];
  if (wanted === "") return hits;
  for (let at = 0; at < heads.length && hits.length < HITS_MAX; at += BATCH) {
    for (const conversation of await loadAll(heads.slice(at, at + BATCH).map(({ id }) => id))) {
      const hit = hitIn(conversation, wanted);
      if (hit) hits.push(hit);
    }
  }
  return hits.slice(0, HITS_MAX);
}
