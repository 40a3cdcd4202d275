/**
 * The end of an answer that is being written, as far as the stored conversation does not have it yet. It is kept in a
 * store that takes it at once, since a page that goes away cannot wait for IndexedDB.
 */
import { readAnswer } from "./check";
import { type AssistantMessage, type Conversation, isRunning } from "./model";

/** Longer ones are not kept: the conversation is stored instead. In UTF-16 units, of text and reasoning together. */
export const TAIL_CHARS_MAX = 32_768;
/** What must be the same on both sides of the joint. */
const JOINT_CHARS = 16;

/** What IndexedDB is known to have of an answer. */
export interface Base {
  serverId?: string;
  applied?: number;
  text: number;
  reasoning: number;
}

interface Piece {
  /** Length of the text before the piece. */
  from: number;
  /** Its last characters. */
  joint: string;
  text: string;
}

/** The answer but for its texts. Its `applied` is the last number that is in the joined texts: a resume goes on from there. */
type Frame = Omit<AssistantMessage, "text" | "reasoning">;

export interface Tail {
  conversation: string;
  answer: Frame & { serverId: string; applied: number };
  text: Piece;
  reasoning: Piece;
}

export const baseOf = ({ serverId, applied, text, reasoning }: AssistantMessage): Base => ({
  ...(serverId === undefined ? {} : { serverId }),
  ...(applied === undefined ? {} : { applied }),
  text: text.length,
  reasoning: reasoning.length,
});

const jointAt = (text: string, at: number): string => text.slice(Math.max(0, at - JOINT_CHARS), at);

function pieceOf(text: string, stored: number): Piece {
  const from = Math.min(stored, text.length);
  return { from, joint: jointAt(text, from), text: text.slice(from) };
}

/** `nothing`: what is stored has it all. */
export function tailOf(
  conversation: string,
  message: AssistantMessage,
  base: Base,
): Tail | "nothing" | "too-long" {
  const { text: whole, reasoning: reasoningText, ...answer } = message;
  const { serverId, applied } = answer;
  if (serverId === undefined || applied === undefined) return "nothing";
  const isSame = base.serverId === serverId;
  const isBehind = isSame && base.applied !== undefined && applied <= base.applied;
  // An end has a number of its own only where the gateway told it.
  if (isBehind && (isRunning(message) || applied !== base.applied)) return "nothing";
  const text = pieceOf(whole, isSame ? base.text : 0);
  const reasoning = pieceOf(reasoningText, isSame ? base.reasoning : 0);
  if (text.text.length + reasoning.text.length > TAIL_CHARS_MAX) return "too-long";
  return { conversation, answer: { ...answer, serverId, applied }, text, reasoning };
}

const continued = (stored: string, { from, joint, text }: Piece): string | undefined =>
  stored.length >= from && jointAt(stored, from) === joint ? stored.slice(0, from) + text : undefined;

/** Whether a stored answer has at least what a tail has. */
export function covers(answer: AssistantMessage, tail: Tail): boolean {
  if (!isRunning(answer)) return true;
  const applied = answer.applied ?? -1;
  if (answer.serverId !== tail.answer.serverId) return false;
  return tail.answer.applied < applied || (tail.answer.applied === applied && isRunning(withTexts(tail)));
}

const withTexts = ({ answer }: Tail): AssistantMessage => ({ ...answer, text: "", reasoning: "" });

/** The stored answer with its tail; undefined: they do not belong together, or it has nothing new. */
function longer(answer: AssistantMessage, tail: Tail): AssistantMessage | undefined {
  // A name is used again for another try at an answer without a word; the time of asking is not.
  if (answer.created !== tail.answer.created || covers(answer, tail)) return undefined;
  if (answer.serverId !== undefined && answer.serverId !== tail.answer.serverId) return undefined;
  const text = continued(answer.text, tail.text);
  const reasoning = continued(answer.reasoning, tail.reasoning);
  if (text === undefined || reasoning === undefined) return undefined;
  return { ...tail.answer, id: answer.id, parent: answer.parent, text, reasoning };
}

/** The stored conversation with all tails that continue it, whichever tab kept them. The same object: there was nothing new. */
export function withTails(conversation: Conversation, tails: Iterable<Tail>): Conversation {
  let next = conversation;
  for (const tail of tails) {
    const answer = next.messages[tail.answer.id];
    const question = answer?.role === "assistant" ? next.messages[answer.parent] : undefined;
    if (tail.conversation !== next.id || answer?.role !== "assistant" || question?.role !== "user") continue;
    const joined = longer(answer, tail);
    if (!joined) continue;
    // Words of the answer came, so the question had arrived.
    const { fault: _, ...asked } = question;
    const messages = { ...next.messages, [answer.id]: joined };
    messages[question.id] = { ...asked, delivery: "accepted" };
    next = { ...next, messages };
  }
  return next;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isText = (value: unknown): value is string => typeof value === "string";

function readPiece(value: unknown): Piece | undefined {
  const { from, joint, text } = (value ?? {}) as Partial<Record<keyof Piece, unknown>>;
  return isCount(from) && isText(joint) && isText(text) ? { from, joint, text } : undefined;
}

/** Undefined: it is none, or damaged. */
export function readTail(json: string): Tail | undefined {
  let value: Partial<Record<keyof Tail, unknown>>;
  try {
    value = (JSON.parse(json) ?? {}) as typeof value;
  } catch {
    return undefined;
  }
  const { conversation } = value;
  const answer = readAnswer(value.answer);
  const text = readPiece(value.text);
  const reasoning = readPiece(value.reasoning);
  if (!isText(conversation) || !answer || !text || !reasoning) return undefined;
  const { text: _, reasoning: __, serverId, applied, ...rest } = answer;
  if (serverId === undefined || applied === undefined) return undefined;
  return { conversation, answer: { ...rest, serverId, applied }, text, reasoning };
}
