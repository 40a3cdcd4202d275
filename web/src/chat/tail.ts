/**
 * The end of a running answer that is not yet in the stored conversation. It is kept in synchronous storage, since a
 * closing page cannot wait for IndexedDB.
 */
import { readAnswer } from "./check";
import { type AssistantMessage, type Conversation, isContinuation, isRunning } from "./model";

/** Maximum length, in UTF-16 units, of text and reasoning together; instead of a longer tail the conversation is stored. */
export const TAIL_CHARS_MAX = 32_768;
/** Characters that must match at the joint. */
const JOINT_CHARS = 16;

/** What IndexedDB is known to have of an answer. */
export interface Base {
  serverId?: string;
  applied?: number;
  run?: number;
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

/** The answer without its texts. Its `applied` is the last number in the joined texts, from which a resume continues. */
type Frame = Omit<AssistantMessage, "text" | "reasoning">;

export interface Tail {
  conversation: string;
  answer: Frame & { serverId: string; applied: number };
  text: Piece;
  reasoning: Piece;
}

export const baseOf = ({ serverId, applied, run, text, reasoning }: AssistantMessage): Base => ({
  ...(serverId === undefined ? {} : { serverId }),
  ...(applied === undefined ? {} : { applied }),
  ...(run === undefined ? {} : { run }),
  text: text.length,
  reasoning: reasoning.length,
});

const jointAt = (text: string, at: number): string => text.slice(Math.max(0, at - JOINT_CHARS), at);

function pieceOf(text: string, stored: number): Piece {
  const from = Math.min(stored, text.length);
  return { from, joint: jointAt(text, from), text: text.slice(from) };
}

/** `nothing`: the stored conversation is complete. */
export function tailOf(
  conversation: string,
  message: AssistantMessage,
  base: Base,
): Tail | "nothing" | "too-long" {
  const { text: whole, reasoning: reasoningText, ...answer } = message;
  const { serverId, applied } = answer;
  if (serverId === undefined || applied === undefined) return "nothing";
  // Each run of an answer has numbers of its own, and what was stored before it began anew is no beginning of it.
  const isWithdrawn = answer.restartedAt !== undefined && (base.applied ?? -1) < answer.restartedAt;
  const isSame = base.serverId === serverId && base.run === answer.run && !isWithdrawn;
  const isBehind = isSame && base.applied !== undefined && applied <= base.applied;
  // An end has its own number only if the gateway sent it.
  if (isBehind && (isRunning(message) || applied !== base.applied)) return "nothing";
  const text = pieceOf(whole, isSame ? base.text : 0);
  const reasoning = pieceOf(reasoningText, isSame ? base.reasoning : 0);
  if (text.text.length + reasoning.text.length > TAIL_CHARS_MAX) return "too-long";
  return { conversation, answer: { ...answer, serverId, applied }, text, reasoning };
}

const continued = (stored: string, { from, joint, text }: Piece): string | undefined =>
  stored.length >= from && jointAt(stored, from) === joint ? stored.slice(0, from) + text : undefined;

/** Whether a stored answer contains all of a tail. */
export function covers(answer: AssistantMessage, tail: Tail): boolean {
  if (!isRunning(answer)) return true;
  const applied = answer.applied ?? -1;
  if (answer.serverId !== tail.answer.serverId) return false;
  const [run, other] = [answer.run ?? 0, tail.answer.run ?? 0];
  if (run !== other) return run > other;
  // It waits to go on, and has all of the run before.
  if (isContinuation(answer) && answer.applied === undefined) return true;
  return tail.answer.applied < applied || (tail.answer.applied === applied && isRunning(withTexts(tail)));
}

const withTexts = ({ answer }: Tail): AssistantMessage => ({ ...answer, text: "", reasoning: "" });

/** The stored answer with its tail; undefined if they do not match, or the tail has nothing new. */
function longer(answer: AssistantMessage, tail: Tail): AssistantMessage | undefined {
  // The id is reused when an answer without text is retried; the creation time is not.
  if (answer.created !== tail.answer.created || covers(answer, tail)) return undefined;
  if (answer.serverId !== undefined && answer.serverId !== tail.answer.serverId) return undefined;
  const text = continued(answer.text, tail.text);
  const reasoning = continued(answer.reasoning, tail.reasoning);
  if (text === undefined || reasoning === undefined) return undefined;
  return { ...tail.answer, id: answer.id, parent: answer.parent, text, reasoning };
}

/** The stored conversation with all tails that continue it, from any tab. The same object if there was nothing new. */
export function withTails(conversation: Conversation, tails: Iterable<Tail>): Conversation {
  let next = conversation;
  for (const tail of tails) {
    const answer = next.messages[tail.answer.id];
    const question = answer?.role === "assistant" ? next.messages[answer.parent] : undefined;
    if (tail.conversation !== next.id || answer?.role !== "assistant" || question?.role !== "user") continue;
    const joined = longer(answer, tail);
    if (!joined) continue;
    // Text of the answer was received, so the question had arrived.
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

/** Undefined if it is not a tail, or damaged. */
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
