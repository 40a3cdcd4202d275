/** Messages as a tree: siblings are branches, and one path through it is shown. All functions return new values. */
import type { AssistantMessage, Conversation, Message, Shown, UserMessage } from "./model";

/** Maximum depth; ends the walk through a stored tree with a cycle. */
const DEPTH_MAX = 100_000;
/** Maximum number of remembered removals; older ones are forgotten. */
const GONE_MAX = 200;

/** Children of each message by creation time; `""` has the first ones. */
function childrenOf(messages: Record<string, Message>): Map<string, string[]> {
  const children = new Map<string, string[]>();
  for (const message of Object.values(messages)) {
    const parent = message.parent ?? "";
    const list = children.get(parent);
    if (list) list.push(message.id);
    else children.set(parent, [message.id]);
  }
  for (const list of children.values()) {
    list.sort((a, b) => (messages[a]?.created ?? 0) - (messages[b]?.created ?? 0));
  }
  return children;
}

const trees = new WeakMap<object, Map<string, string[]>>();
const paths = new WeakMap<Conversation, Shown[]>();
/** The shown path, cached by its shape, so that a delta does not walk ten thousand messages. */
let lastShape: { ids: string; chosen: object; path: Shown[] } | undefined;

function treeOf(messages: Record<string, Message>): Map<string, string[]> {
  let children = trees.get(messages);
  if (!children) {
    children = childrenOf(messages);
    trees.set(messages, children);
  }
  return children;
}

function path(conversation: Conversation): Shown[] {
  const { messages, chosen } = conversation;
  const children = treeOf(messages);
  const shown: Shown[] = [];
  let at = "";
  while (shown.length < DEPTH_MAX) {
    const siblings = children.get(at);
    if (!siblings || siblings.length === 0) break;
    const picked = siblings.indexOf(chosen[at] ?? "");
    const index = picked < 0 ? siblings.length - 1 : picked;
    at = siblings[index] as string;
    shown.push({ id: at, index, siblings });
  }
  return shown;
}

/** The messages on the shown branch, oldest first; cached per conversation object. */
export function shown(conversation: Conversation): Shown[] {
  const known = paths.get(conversation);
  if (known) return known;
  const ids = Object.keys(conversation.messages).length;
  const shape = `${conversation.id} ${ids}`;
  const isLike = lastShape?.ids === shape && lastShape.chosen === conversation.chosen;
  const made = isLike && lastShape ? lastShape.path : path(conversation);
  lastShape = { ids: shape, chosen: conversation.chosen, path: made };
  paths.set(conversation, made);
  return made;
}

/** The last message that is shown. */
export function last(conversation: Conversation): Message | undefined {
  const id = shown(conversation).at(-1)?.id;
  return id === undefined ? undefined : conversation.messages[id];
}

/** Adds messages and shows them. */
export function added(conversation: Conversation, ...messages: Message[]): Conversation {
  const all = { ...conversation.messages };
  const chosen = { ...conversation.chosen };
  for (const message of messages) {
    all[message.id] = message;
    chosen[message.parent ?? ""] = message.id;
  }
  return { ...conversation, messages: all, chosen };
}

/** Replaces one message. */
export function replaced(conversation: Conversation, message: Message): Conversation {
  return { ...conversation, messages: { ...conversation.messages, [message.id]: message } };
}

/** Removes a message and everything below it. */
export function without(conversation: Conversation, id: string): Conversation {
  const children = childrenOf(conversation.messages);
  const gone = new Set<string>();
  const todo = [id];
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    if (gone.has(next)) continue;
    gone.add(next);
    todo.push(...(children.get(next) ?? []));
  }
  const messages = Object.fromEntries(
    Object.entries(conversation.messages).filter(([key]) => !gone.has(key)),
  );
  const chosen = Object.fromEntries(
    Object.entries(conversation.chosen).filter(([from, to]) => !gone.has(from) && !gone.has(to)),
  );
  return { ...conversation, messages, chosen, gone: [...conversation.gone, ...gone].slice(-GONE_MAX) };
}

/** Whether there is a message below one of its answers. */
export function isContinued(conversation: Conversation, question: string): boolean {
  const children = treeOf(conversation.messages);
  return (children.get(question) ?? []).some((answer) => children.has(answer));
}

export function withChosen(conversation: Conversation, id: string): Conversation {
  const message = conversation.messages[id];
  if (!message) return conversation;
  return { ...conversation, chosen: { ...conversation.chosen, [message.parent ?? ""]: id } };
}

export function userOf(conversation: Conversation, id: string | null): UserMessage | undefined {
  const message = id === null ? undefined : conversation.messages[id];
  return message?.role === "user" ? message : undefined;
}

export function answerOf(conversation: Conversation, id: string): AssistantMessage | undefined {
  const message = conversation.messages[id];
  return message?.role === "assistant" ? message : undefined;
}

/** The ancestors of a message, oldest first. */
export function before(conversation: Conversation, message: Message): Message[] {
  const way: Message[] = [];
  let at = message.parent;
  while (at !== null && way.length < DEPTH_MAX) {
    const parent: Message | undefined = conversation.messages[at];
    if (!parent) break;
    way.push(parent);
    at = parent.parent;
  }
  return way.reverse();
}
