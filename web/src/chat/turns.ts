/** The user's changes of a conversation, as new values: a question, a regeneration, an edit. */
import type { Choice } from "./choice";
import type { AssistantMessage, Conversation, UserMessage } from "./model";
import { forgetTurn, isReplacement } from "./plan";
import { added, answerOf, last, userOf } from "./tree";

export interface Asked {
  conversation: Conversation;
  question: UserMessage;
  answer: AssistantMessage;
}

type NewId = (prefix: string) => string;

export function emptyConversation(id: string, now: number, choice: Choice = {}): Conversation {
  return {
    id,
    title: "",
    titled: false,
    created: now,
    updated: now,
    messages: {},
    chosen: {},
    system: "",
    choice,
    epoch: 0,
    remembered: [],
    gone: [],
  };
}

const TITLE_CHARS = 60;

/** Title from the first line of the first message, until the user names it. */
function titleOf(text: string): string {
  const line = text.trim().split("\n", 1)[0] ?? "";
  const chars = [...line];
  return chars.length > TITLE_CHARS ? `${chars.slice(0, TITLE_CHARS - 1).join("")}…` : line;
}

function awaited(parent: string, id: string, now: number): AssistantMessage {
  return { role: "assistant", id, parent, text: "", reasoning: "", created: now, outcome: "waiting" };
}

function asked(
  conversation: Conversation,
  parent: string | null,
  text: string,
  now: number,
  newId: NewId,
): Asked {
  const question: UserMessage = {
    role: "user",
    id: newId("u"),
    parent,
    text,
    created: now,
    delivery: "queued",
  };
  const answer = awaited(question.id, newId("a"), now);
  const next = added(conversation, question, answer);
  const title = next.titled || next.title !== "" ? next.title : titleOf(text);
  return { conversation: { ...next, title, updated: now }, question, answer };
}

/** A new message below the last one that is shown. */
export function submit(conversation: Conversation, text: string, now: number, newId: NewId): Asked {
  return asked(conversation, last(conversation)?.id ?? null, text, now, newId);
}

/** Edits a message: a new branch. */
export function edit(
  conversation: Conversation,
  id: string,
  text: string,
  now: number,
  newId: NewId,
): Asked | undefined {
  const old = userOf(conversation, id);
  return old && asked(conversation, old.parent, text, now, newId);
}

/** Regenerates an answer: a new branch. */
export function regenerate(
  conversation: Conversation,
  id: string,
  now: number,
  newId: NewId,
): Asked | undefined {
  const question = userOf(conversation, answerOf(conversation, id)?.parent ?? null);
  if (!question) return undefined;
  const answer = awaited(question.id, newId("a"), now);
  return { conversation: { ...added(conversation, answer), updated: now }, question, answer };
}

/** Sends a message again that got no answer: its empty answer is reused. */
export function resend(conversation: Conversation, id: string, now: number, newId: NewId): Asked | undefined {
  const old = userOf(conversation, id);
  if (!old) return undefined;
  const { fault: _, ...rest } = old;
  const question: UserMessage = { ...rest, created: now, delivery: "queued" };
  const answers = Object.values(conversation.messages).filter(
    (message): message is AssistantMessage => message.role === "assistant" && message.parent === id,
  );
  const empty = answers.find(({ text, reasoning }) => text === "" && reasoning === "");
  const answer = awaited(id, empty?.id ?? newId("a"), now);
  const known = isReplacement(empty?.asked) ? forgetTurn(conversation, id, empty?.asked) : conversation;
  return { conversation: { ...added(known, question, answer), updated: now }, question, answer };
}
