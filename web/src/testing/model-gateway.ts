/** A minimal gateway written from docs/PROTOCOL.md alone: the tests check the page's core against it. */
import type { Remembered } from "../chat/page-config";
import type { Chunk, ClientFrame, ContinueFrame, Metadata, SendFrame, ServerFrame } from "../protocol/frames";

export interface Turn {
  user: string;
  question: string;
  answer: string;
  /** All chunks of the answer; the index is the number. */
  script: Chunk[];
  sent: number;
  stopped: boolean;
  /** The run that went on with the answer; absent: the first. */
  run?: number;
}

interface Reader {
  request: string;
  turn: Turn | null;
  waits: SendFrame | null;
  sequence: number;
  cursor: number;
  /** A resume begins with a `start` frame. */
  isResume: boolean;
  news: number;
}

interface Chat {
  turns: Turn[];
  queue: SendFrame[];
  known: boolean;
}

export const textOf = (turn: Turn, upTo = turn.sent): string =>
  turn.script
    .slice(0, upTo)
    .map((chunk) => (chunk.type === "delta" && chunk.kind === "text" ? chunk.text : ""))
    .join("");

/** All chunks of an answer of these pieces. */
function script(
  start: { messageId: string; metadata?: Metadata },
  pieces: string[],
  reason = "stop",
): Chunk[] {
  return [
    { type: "start", ...start },
    { type: "start-step" },
    { type: "part-start", kind: "text", id: "1" },
    ...pieces.map((text): Chunk => ({ type: "delta", kind: "text", id: "1", text })),
    { type: "part-end", kind: "text", id: "1" },
    { type: "finish-step" },
    { type: "finish", reason },
  ];
}

export class ModelGateway {
  readonly asked: { user: string; question: string; answer: string; before: string[] }[] = [];
  /** How often an answer was continued. */
  continued = 0;
  readonly all = new Map<string, Turn>();
  private readonly chats = new Map<string, Chat>();
  private readers: Reader[] = [];
  /** It is draining: running answers are finished, questions are rejected. */
  isDraining = false;
  private readonly refusals: ServerFrame[] = [];

  constructor(private readonly pieces: (question: string, run: number) => string[]) {}

  /** The socket is closed; the answers continue. */
  cut(): void {
    this.readers = [];
    this.refusals.length = 0;
  }

  take(frame: ClientFrame): void {
    if (frame.type === "ping") return;
    if (frame.type === "abort") {
      this.abort(frame.requestId);
      return;
    }
    const chat = this.chat(frame.id);
    const newest = chat.turns.at(-1);
    const reader: Reader = {
      request: frame.requestId,
      turn: null,
      waits: null,
      sequence: 0,
      cursor: 0,
      isResume: false,
      news: 0,
    };
    if (frame.type === "resume") {
      const { messageId } = frame;
      const isNamed = messageId === undefined || newest?.user === messageId || newest?.answer === messageId;
      if (!newest || !isNamed) {
        this.refusals.push({ type: "no-active", requestId: frame.requestId });
        return;
      }
      const isKnown = frame.lastSequence !== undefined && frame.run === newest.run;
      const from = isKnown ? (frame.lastSequence as number) + 1 : 0;
      this.readers.push({ ...reader, turn: newest, sequence: from, cursor: from, isResume: true });
      return;
    }
    if (frame.trigger === "continue") this.continue(chat, frame, reader);
    else this.send(chat, frame, reader);
  }

  private refuse(frame: SendFrame | ContinueFrame, code: string, retryable: boolean): void {
    this.refusals.push({ type: "error", requestId: frame.requestId, fault: { code, text: "", retryable } });
  }

  /** Another run of the newest answer: its numbers begin again, with the text that it has. */
  private continue(chat: Chat, frame: ContinueFrame, reader: Reader): void {
    const turn = chat.turns.at(-1);
    const isRunning = turn !== undefined && this.runs(turn) && !turn.stopped;
    const text = turn ? textOf(turn) : "";
    const last = turn?.script.at(-1);
    const isWhole = last?.type === "finish" && last.reason === "stop" && !isRunning;
    if (this.isDraining) this.refuse(frame, "draining", true);
    else if (turn?.answer === frame.messageId && isRunning && turn.run !== undefined) {
      this.readers.push({ ...reader, turn });
    } else if (turn?.answer !== frame.messageId || isRunning || isWhole || text.trim() === "") {
      this.refuse(frame, "bad_parameter", false);
    } else {
      this.continued += 1;
      const run = this.asked.length + this.continued;
      const start = { messageId: turn.answer, metadata: { model: "m", run } };
      const chunks = script(start, [text, ...this.pieces(text, run)], run % 3 === 0 ? "length" : "stop");
      const next: Turn = { ...turn, script: chunks, sent: 0, stopped: false, run };
      chat.turns[chat.turns.length - 1] = next;
      this.all.set(turn.answer, next);
      this.readers.push({ ...reader, turn: next });
    }
  }

  private send(chat: Chat, frame: SendFrame, reader: Reader): void {
    if (this.isDraining) {
      this.refuse(frame, "draining", true);
      return;
    }
    this.readers.push(reader);
    const id = frame.messages.at(-1)?.id as string;
    const newest = chat.turns.at(-1);
    const isPlain = frame.trigger === "submit-message" && frame.messageId === undefined;
    if (isPlain && newest?.user === id && (this.runs(newest) || textOf(newest) !== "")) {
      reader.turn = newest;
    } else if (chat.queue.some((waiting) => waiting.messages.at(-1)?.id === id)) {
      reader.waits = chat.queue.find((waiting) => waiting.messages.at(-1)?.id === id) ?? null;
    } else if (newest && this.runs(newest)) {
      if (chat.queue.length >= 8) throw new Error("too many wait");
      chat.queue.push(frame);
      reader.waits = frame;
      reader.news = 1;
    } else reader.turn = this.begin(chat, frame);
  }

  private abort(request: string): void {
    const reader = this.readers.find((known) => known.request === request);
    if (!reader) return;
    this.readers = this.readers.filter((known) => known !== reader);
    const { turn, waits } = reader;
    if (waits) for (const chat of this.chats.values()) chat.queue = chat.queue.filter((one) => one !== waits);
    if (turn && this.runs(turn)) {
      turn.script = [...turn.script.slice(0, turn.sent), { type: "abort" }];
      turn.stopped = true;
    }
  }

  /** Generates one more chunk of every running answer. */
  tick(): void {
    for (const chat of this.chats.values()) {
      const turn = chat.turns.at(-1);
      if (turn && this.runs(turn)) turn.sent += 1;
      else {
        const next = chat.queue.shift();
        if (!next) continue;
        const begun = this.begin(chat, next);
        for (const reader of this.readers) {
          if (reader.waits === next) {
            reader.waits = null;
            reader.turn = begun;
          }
        }
      }
    }
  }

  /** The next frame for the subscriber number `pick`; a slow one gets up to `most` pieces of text merged. */
  next(pick: number, most: number): ServerFrame | null {
    const refusal = this.refusals.shift();
    if (refusal) return refusal;
    const ready = this.readers.filter(
      ({ turn, isResume, cursor, news }) =>
        news > 0 || (turn && (isResume || cursor < turn.sent || !this.runs(turn))),
    );
    const reader = ready[pick % Math.max(1, ready.length)];
    if (!reader) return null;
    const requestId = reader.request;
    if (reader.news > 0) {
      reader.news -= 1;
      reader.sequence += 1;
      const chunk: Chunk = { type: "queue", position: 1 };
      return { type: "chunk", requestId, sequence: reader.sequence - 1, entry: null, chunk };
    }
    const turn = reader.turn as Turn;
    if (reader.isResume) {
      reader.isResume = false;
      const run = turn.run === undefined ? {} : { run: turn.run };
      return { type: "start", requestId, messageId: turn.answer, ...run };
    }
    if (reader.cursor >= turn.sent) {
      this.readers = this.readers.filter((known) => known !== reader);
      return { type: "end", requestId };
    }
    let chunk = turn.script[reader.cursor] as Chunk;
    reader.cursor += 1;
    for (let joined = 1; joined < most && chunk.type === "delta" && reader.cursor < turn.sent; joined += 1) {
      const more = turn.script[reader.cursor] as Chunk;
      if (more.type !== "delta") break;
      chunk = { ...chunk, text: chunk.text + more.text };
      reader.cursor += 1;
    }
    const sequence = reader.sequence;
    reader.sequence += 1;
    const number = reader.cursor - 1;
    const entry = number === sequence ? {} : { entry: number };
    return { type: "chunk", requestId, sequence, ...entry, chunk };
  }

  transcript(id: string): Remembered | null {
    const chat = this.chats.get(id);
    if (!chat?.known) return null;
    const remembered = chat.turns.filter((turn) => this.runs(turn) || textOf(turn) !== "");
    return {
      answers: new Map(
        remembered.map((turn) => [
          turn.answer,
          { text: textOf(turn), incomplete: turn.stopped, isWriting: this.runs(turn) },
        ]),
      ),
    };
  }

  private runs(turn: Turn): boolean {
    return turn.sent < turn.script.length;
  }

  private chat(id: string): Chat {
    const known = this.chats.get(id) ?? { turns: [], queue: [], known: false };
    this.chats.set(id, known);
    return known;
  }

  private begin(chat: Chat, frame: SendFrame): Turn {
    const question = frame.messages.at(-1);
    const user = question?.id ?? "";
    const text = question?.parts[0]?.text ?? "";
    const cutAt = frame.trigger === "regenerate-message" ? user : frame.messageId;
    const at = chat.turns.findIndex((turn) => turn.user === cutAt);
    if (at >= 0) chat.turns.splice(at);
    const before = chat.known
      ? chat.turns.map((turn) => turn.question)
      : frame.messages
          .slice(0, -1)
          .flatMap(({ role, parts }) => (role === "user" ? [parts[0]?.text ?? ""] : []));
    chat.known = true;
    const answer = `msg-${this.asked.length}`;
    this.asked.push({ user, question: text, answer, before });
    const pieces = this.pieces(text, this.asked.length);
    const start = { messageId: answer, metadata: { model: "m" } };
    const chunks = script(start, pieces, this.asked.length % 3 === 0 ? "length" : "stop");
    const turn: Turn = { user, question: text, answer, script: chunks, sent: 0, stopped: false };
    chat.turns.push(turn);
    this.all.set(answer, turn);
    return turn;
  }
}
