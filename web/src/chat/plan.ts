/** Plans how a question is sent to the gateway, which remembers one path through the tree under one id. */
import type { ChoiceBody, ContinueFrame, SendFrame, WireMessage } from "../protocol/frames";
import type { Asked, AssistantMessage, Conversation, Message, UserMessage } from "./model";
import { wireId } from "./model";
import { before } from "./tree";

type Pair = [user: string, answer: string];

export interface Plan {
  /** The conversation with what the gateway will remember, and its chat id. */
  conversation: Conversation;
  frame: Omit<SendFrame, "requestId"> | Omit<ContinueFrame, "requestId">;
  asked: Asked;
}

/** Whether it replaces something in the gateway's history: sending it twice would not be harmless. */
export const isReplacement = (asked: Asked | undefined): boolean =>
  asked !== undefined && (asked.trigger === "regenerate-message" || asked.messageId !== undefined);

/** Bytes reserved for the rest of the frame. */
const ENVELOPE_BYTES = 2_048;
const MESSAGE_BYTES = 160;

/** Upper bound of the UTF-8 bytes of a text in JSON: quotes, line breaks and the like count twice. */
function jsonBytes(text: string): number {
  let bytes = 0;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (unit === 0x22 || unit === 0x5c) bytes += 2;
    else if (unit < 0x20) bytes += 6;
    else if (unit < 0x80) bytes += 1;
    else if (unit < 0x800) bytes += 2;
    else if (unit >= 0xd800 && unit < 0xe000) bytes += 6;
    else bytes += 3;
  }
  return bytes;
}

const toWire = (id: string, role: WireMessage["role"], text: string): WireMessage => ({
  id,
  role,
  parts: [{ type: "text", text }],
});

/** The newest messages that fit, with the question last; instructions first where they are allowed. */
function transcript(way: Message[], question: UserMessage, system: string, bytesMax: number): WireMessage[] {
  let room = bytesMax - ENVELOPE_BYTES - MESSAGE_BYTES - jsonBytes(question.text) - jsonBytes(system);
  const messages: WireMessage[] = [toWire(question.id, "user", question.text)];
  for (const message of way.toReversed()) {
    if (message.text === "") continue;
    room -= MESSAGE_BYTES + jsonBytes(message.text);
    if (room < 0) break;
    const id = message.role === "user" ? message.id : (message.serverId ?? message.id);
    messages.push(toWire(id, message.role, message.text));
  }
  // The gateway handles two of the same role in a row, or an answer first.
  if (system !== "") messages.push(toWire("system", "system", system));
  return messages.reverse();
}

const pairsOf = (way: Message[]): Pair[] =>
  way.flatMap((message): Pair[] => (message.role === "assistant" ? [[message.parent, message.id]] : []));

const isSame = (a: Pair | undefined, b: Pair | undefined): boolean => a?.[0] === b?.[0] && a?.[1] === b?.[1];

const isWhole = (conversation: Conversation, [, answer]: Pair): boolean => {
  const message = conversation.messages[answer];
  return message?.role === "assistant" && message.serverId !== undefined && message.outcome === "done";
};

/** What the question replaces in the gateway's history, if anything. */
function displacing(
  conversation: Conversation,
  chat: string,
  displaced: Pair | undefined,
  mine: Pair,
): Asked & { trigger: SendFrame["trigger"] } {
  if (!displaced || isSame(displaced, mine)) return { chat, trigger: "submit-message" };
  if (displaced[0] !== mine[0]) return { chat, trigger: "submit-message", messageId: displaced[0] };
  const old = conversation.messages[displaced[1]];
  const known = old?.role === "assistant" && old.serverId !== undefined ? { messageId: old.serverId } : {};
  return { chat, trigger: "regenerate-message", ...known };
}

/**
 * The frame for a question and its answer. The remembered path is continued, or cut by an edit or regeneration; if the
 * paths diverge otherwise, the conversation gets a new chat id and is rebuilt from the transcript.
 */
export function plan(
  conversation: Conversation,
  question: UserMessage,
  answer: Pick<AssistantMessage, "id" | "asked">,
  limits: { transcriptBytes: number; system: boolean },
  body: ChoiceBody = {},
): Plan {
  const way = before(conversation, question);
  const system = limits.system ? conversation.system : "";
  const messages = transcript(way, question, system, limits.transcriptBytes);
  const sent = answer.asked;
  if (sent) {
    // It may have arrived: it is recognized as the same question only if repeated unchanged under the same id.
    const { chat, trigger, ...rest } = sent;
    if (trigger === "continue") {
      const frame = { type: "send", id: chat, trigger, messageId: "", ...rest } as const;
      return { conversation, frame, asked: sent };
    }
    const frame = { trigger, ...rest };
    return { conversation, frame: { type: "send", id: chat, ...frame, messages }, asked: sent };
  }
  const wanted = pairsOf(way);
  const kept = conversation.remembered;
  const mine: Pair = [question.id, answer.id];
  const leaves = kept.slice(wanted.length).filter((pair) => !isSame(pair, mine));
  // Replaced turns must have an id and be complete; otherwise nothing could tell later which of the two answers is
  // streamed.
  const continues =
    wanted.every((pair, at) => isSame(pair, kept[at])) && leaves.every((pair) => isWhole(conversation, pair));
  const displaced = continues ? kept[wanted.length] : undefined;
  const epoch = continues ? conversation.epoch : conversation.epoch + 1;
  const next: Conversation = { ...conversation, epoch, remembered: [...wanted, mine] };
  const asked = {
    ...displacing(conversation, wireId(next), displaced, mine),
    ...(Object.keys(body).length > 0 ? { body } : {}),
  };
  const { chat, ...frame } = asked;
  return { conversation: next, frame: { type: "send", id: chat, ...frame, messages }, asked };
}

/**
 * Removes a turn that the gateway does not have. If it was to replace another one, the gateway's history is unknown, so
 * the conversation gets a new chat id.
 */
export function forgetTurn(conversation: Conversation, question: string, asked?: Asked): Conversation {
  const at = conversation.remembered.findIndex(([user]) => user === question);
  if (at < 0) return conversation;
  if (isReplacement(asked)) return { ...conversation, remembered: [], epoch: conversation.epoch + 1 };
  return { ...conversation, remembered: conversation.remembered.slice(0, at) };
}
