/** Conversations of ChatGPT's export (`conversations.json`): trees of nodes like ours, but with steps that are not shown. */
import type { AssistantMessage, Conversation, Message, UserMessage } from "./model";
import { emptyConversation } from "./turns";

type Fields = Record<string, unknown>;
type NewId = (prefix: string) => string;

const fields = (value: unknown): Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
const text = (value: unknown): string => (typeof value === "string" ? value : "");
/** A date in seconds. */
const TIME_MAX = 8.64e12;
const time = (value: unknown): number =>
  typeof value === "number" && value > 0 && value < TIME_MAX ? Math.round(value * 1000) : 0;

/** Citation marks in private-use characters, meaningless outside of ChatGPT. */
const CITATIONS = /\ue200[^\ue201]{0,2000}\ue201/g;
/** Stands in for a missing question, so that the answer has a parent. */
const NO_QUESTION = "…";

export const isChatGpt = (value: unknown): value is Fields[] =>
  Array.isArray(value) && value.some((entry) => typeof fields(entry).mapping === "object");

function partsOf(parts: unknown): string {
  const texts = (Array.isArray(parts) ? parts : []).map((part) => {
    if (typeof part === "string") return part;
    const { content_type: kind, text: words } = fields(part);
    if (typeof words === "string") return words;
    return text(kind).includes("image") ? "[image]" : text(kind).includes("audio") ? "[audio]" : "";
  });
  return texts.filter((part) => part !== "").join("\n\n");
}

interface Content {
  role: "user" | "assistant";
  text: string;
  reasoning: string;
}

/** The visible content of a node; undefined for instructions, tools and hidden nodes. */
function contentOf(message: Fields): Content | undefined {
  const role = text(fields(message.author).role);
  const { content_type: kind, parts, text: words, language, thoughts } = fields(message.content);
  if (role !== "user" && role !== "assistant") return undefined;
  if (fields(message.metadata).is_visually_hidden_from_conversation === true) return undefined;
  // Tool calls are not answers.
  if (role === "assistant" && !["", "all"].includes(text(message.recipient))) return undefined;
  if (kind === "text" || kind === "multimodal_text") {
    const all = partsOf(parts).replace(CITATIONS, "").trim();
    return all === "" ? undefined : { role, text: all, reasoning: "" };
  }
  if (role === "user") return undefined;
  if (kind === "code" && text(words) !== "") {
    const name = /^[a-z0-9+#-]{1,20}$/i.test(text(language)) && language !== "unknown" ? text(language) : "";
    return { role, text: `\`\`\`\`${name}\n${text(words).trimEnd()}\n\`\`\`\``, reasoning: "" };
  }
  if (kind === "thoughts") {
    const steps = (Array.isArray(thoughts) ? thoughts : []).map((step) => text(fields(step).content).trim());
    const reasoning = steps.filter((step) => step !== "").join("\n\n");
    return reasoning === "" ? undefined : { role, text: "", reasoning };
  }
  return undefined;
}

const joined = (one: string, other: string): string =>
  one !== "" && other !== "" ? `${one}\n\n${other}` : one + other;

/** Builds one of our trees, in which questions and answers alternate. */
class Tree {
  readonly messages: Record<string, Message> = {};
  readonly chosen: Record<string, string> = {};

  constructor(private readonly newId: NewId) {}

  /** Returns the message that becomes the parent of what is below the node. */
  put(parent: string | null, content: Content, created: number, model: string): string {
    const before = parent === null ? undefined : this.messages[parent];
    if (content.role === "user")
      return this.question(before ? this.answered(before) : null, content.text, created);
    if (before?.role === "assistant") return this.continued(before, content, created);
    return this.answer(before?.id ?? this.question(null, NO_QUESTION, created), content, created, model);
  }

  private question(parent: string | null, words: string, created: number): string {
    const id = this.newId("u");
    const made: UserMessage = { role: "user", id, parent, text: words, created, delivery: "accepted" };
    this.messages[id] = made;
    return id;
  }

  private answer(parent: string, content: Content, created: number, model: string): string {
    const id = this.newId("a");
    const { text: words, reasoning } = content;
    const made: AssistantMessage = {
      role: "assistant",
      id,
      parent,
      text: words,
      reasoning,
      created,
      outcome: "done",
    };
    if (model !== "") made.model = model;
    this.messages[id] = made;
    return id;
  }

  /** A question follows an answer; if there is none, an empty stopped one is inserted. */
  private answered(before: Message): string {
    if (before.role === "assistant") return before.id;
    const id = this.answer(before.id, { role: "assistant", text: "", reasoning: "" }, before.created, "");
    (this.messages[id] as AssistantMessage).outcome = "stopped";
    return id;
  }

  /** Merges an answer of several steps into one, as a sibling of the first step, because two branches may start there. */
  private continued(before: AssistantMessage, content: Content, created: number): string {
    const whole = {
      role: content.role,
      text: joined(before.text, content.text),
      reasoning: joined(before.reasoning, content.reasoning),
    };
    return this.answer(before.parent, whole, created, before.model ?? "");
  }

  /** Removes a step that is contained in a later answer. */
  drop(id: string): void {
    delete this.messages[id];
  }

  /** Selects the branch of a message. */
  show(id: string | undefined): void {
    for (let at = id === undefined ? undefined : this.messages[id]; at; ) {
      this.chosen[at.parent ?? ""] = at.id;
      at = at.parent === null ? undefined : this.messages[at.parent];
    }
  }
}

/** Every node with its parent, parents first; each once, even if the file contains cycles. */
function nodesOf(mapping: Fields): { id: string; node: Fields; parent: string | null }[] {
  const ids = Object.keys(mapping);
  const children = new Map<string | null, string[]>();
  for (const id of ids) {
    const parent = text(fields(mapping[id]).parent);
    const key = parent !== "" && Object.hasOwn(mapping, parent) ? parent : null;
    const list = children.get(key);
    if (list) list.push(id);
    else children.set(key, [id]);
  }
  const found: { id: string; node: Fields; parent: string | null }[] = [];
  const todo: (string | null)[] = [null];
  for (let at = todo.pop(); at !== undefined; at = todo.pop()) {
    for (const id of children.get(at) ?? []) {
      found.push({ id, node: fields(mapping[id]), parent: at });
      todo.push(id);
    }
  }
  return found;
}

/** Undefined if it contains no messages. */
export function fromChatGpt(value: unknown, newId: NewId, now: number): Conversation | undefined {
  const entry = fields(value);
  const tree = new Tree(newId);
  /** By node: the parent of what is below it. */
  const places = new Map<string, string | null>();
  const times = new Map<string, number>();
  /** Answers continued by another step, and messages with other children. */
  const continued = new Set<string>();
  const followed = new Set<string>();
  const begun = time(entry.create_time) || now;
  for (const { id, node, parent } of nodesOf(fields(entry.mapping))) {
    const message = fields(node.message);
    const above = parent === null ? null : (places.get(parent) ?? null);
    // Siblings are ordered by time; a missing time must not place one before its parent.
    const created = time(message.create_time) || ((parent !== null && times.get(parent)) || begun) + 1;
    times.set(id, created);
    const content = contentOf(message);
    if (!content) {
      places.set(id, above);
      continue;
    }
    const isStep =
      content.role === "assistant" && above !== null && tree.messages[above]?.role === "assistant";
    const put = tree.put(above, content, created, text(fields(message.metadata).model_slug));
    if (above !== null) (isStep ? continued : followed).add(above);
    places.set(id, put);
  }
  for (const id of continued) if (!followed.has(id)) tree.drop(id);
  tree.show(places.get(text(entry.current_node)) ?? undefined);
  if (Object.keys(tree.messages).length === 0) return undefined;
  return {
    ...emptyConversation(newId("c"), begun),
    title: text(entry.title).trim().slice(0, 200),
    titled: text(entry.title).trim() !== "",
    updated: time(entry.update_time) || begun,
    messages: tree.messages,
    chosen: tree.chosen,
  };
}
