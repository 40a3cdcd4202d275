/** Validates conversations from storage and from files, of any version. */
import { readChoice } from "./choice";
import {
  type AssistantMessage,
  type Conversation,
  type Head,
  isRunning,
  type Message,
  type Outcome,
  type UserMessage,
} from "./model";

type Fields = Record<string, unknown>;
const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string => typeof value === "string";
const time = (value: unknown): number => (typeof value === "number" && Number.isFinite(value) ? value : 0);
const ID = /^[A-Za-z0-9._:~@=+-]{1,120}$/;
const isId = (value: unknown): value is string => isText(value) && ID.test(value);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const OUTCOMES: Outcome[] = ["waiting", "streaming", "done", "stopped", "failed"];
const DELIVERIES: UserMessage["delivery"][] = ["queued", "stale", "sent", "accepted", "refused"];

function fault(value: unknown): { fault?: Message["fault"] & object } {
  if (!isFields(value) || !isText(value.code)) return {};
  const text = isText(value.text) ? value.text : "";
  const { code, retryable, run, serviceRequest } = value;
  return {
    fault: {
      code,
      text,
      retryable: retryable === true,
      ...(isText(run) ? { run } : {}),
      ...(isText(serviceRequest) ? { serviceRequest } : {}),
    },
  };
}

function user(value: Fields, id: string, parent: string | null): UserMessage {
  const delivery = DELIVERIES.find((known) => known === value.delivery) ?? "accepted";
  const text = isText(value.text) ? value.text : "";
  return { role: "user", id, parent, text, created: time(value.created), delivery, ...fault(value.fault) };
}

function assistant(value: Fields, id: string, parent: string): AssistantMessage {
  const counts = [
    "applied",
    "run",
    "reasoningMs",
    "firstTokenMs",
    "durationMs",
    "omittedTurns",
    "restartedAt",
  ] as const;
  const texts = ["serverId", "finishReason", "model"] as const;
  const message: AssistantMessage = {
    role: "assistant",
    id,
    parent,
    text: isText(value.text) ? value.text : "",
    reasoning: isText(value.reasoning) ? value.reasoning : "",
    created: time(value.created),
    outcome: OUTCOMES.find((known) => known === value.outcome) ?? "done",
    ...fault(value.fault),
  };
  for (const name of counts) if (isCount(value[name])) message[name] = value[name];
  for (const name of texts) if (isText(value[name])) message[name] = value[name];
  const { asked } = value;
  if (isFields(asked) && isId(asked.chat)) {
    const trigger =
      asked.trigger === "regenerate-message" || asked.trigger === "continue"
        ? asked.trigger
        : "submit-message";
    message.asked = {
      chat: asked.chat,
      trigger,
      ...(isId(asked.messageId) ? { messageId: asked.messageId } : {}),
      ...(isFields(asked.body) ? { body: asked.body } : {}),
    };
  }
  if (isFields(value.usage)) {
    message.usage = {};
    for (const name of ["input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens"] as const) {
      if (isCount(value.usage[name])) message.usage[name] = value.usage[name];
    }
  }
  return message;
}

/** Validates an answer without its parent. */
export function readAnswer(value: unknown): AssistantMessage | undefined {
  if (!isFields(value) || !isId(value.id) || !isId(value.parent)) return undefined;
  return assistant(value, value.id, value.parent);
}

function messagesOf(value: unknown): Record<string, Message> | undefined {
  if (!isFields(value)) return undefined;
  const messages: Record<string, Message> = {};
  for (const [id, entry] of Object.entries(value)) {
    if (!isFields(entry) || !isId(id)) continue;
    if (entry.role === "user") messages[id] = user(entry, id, isId(entry.parent) ? entry.parent : null);
    else if (entry.role === "assistant" && isId(entry.parent))
      messages[id] = assistant(entry, id, entry.parent);
  }
  // A message whose parent is missing, or has the same role, would never be shown, or form a cycle.
  for (const message of Object.values(messages)) {
    const parent = message.parent === null ? undefined : messages[message.parent];
    const isWhole =
      message.parent === null ? message.role === "user" : parent && parent.role !== message.role;
    if (!isWhole) delete messages[message.id];
  }
  return messages;
}

/** Undefined if it is not a conversation, or damaged beyond use. */
export function readConversation(value: unknown): Conversation | undefined {
  if (!isFields(value) || !isId(value.id)) return undefined;
  const messages = messagesOf(value.messages);
  if (!messages) return undefined;
  const chosen: Record<string, string> = {};
  for (const [from, to] of Object.entries(isFields(value.chosen) ? value.chosen : {}))
    if (isText(to)) chosen[from] = to;
  const remembered = (Array.isArray(value.remembered) ? value.remembered : []).filter(
    (pair): pair is [string, string] => Array.isArray(pair) && isText(pair[0]) && isText(pair[1]),
  );
  return {
    id: value.id,
    title: isText(value.title) ? value.title.slice(0, 200) : "",
    titled: value.titled === true,
    created: time(value.created),
    updated: time(value.updated),
    messages,
    chosen,
    system: isText(value.system) ? value.system : "",
    choice: readChoice(value.choice),
    epoch: isCount(value.epoch) ? value.epoch : 0,
    remembered,
    gone: (Array.isArray(value.gone) ? value.gone : []).filter(isId),
  };
}

export function headOf(conversation: Conversation): Head {
  const { id, title, titled, created, updated } = conversation;
  const pending = Object.values(conversation.messages).some(
    (message) => isRunning(message) && !message.takenOver,
  );
  return { id, title, titled, created, updated, ...(pending ? { pending } : {}) };
}
