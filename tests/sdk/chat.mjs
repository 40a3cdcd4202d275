// The real clients against a running gateway with simulated answers (GATEWAY=host:port): the package's
// WebSocketChatTransport over npm's `ws`, and the `Chat` that is inside of `useChat`.
// NODE_PACKAGES is the folder that package.json was installed in.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';

const packages = createRequire(`${process.env.NODE_PACKAGES}/`);
const load = name => import(pathToFileURL(packages.resolve(name)));
const ai = await load('ai');
const { Chat } = await load('@ai-sdk/react');
const { default: WebSocket } = await load('ws');
const gateway = process.env.GATEWAY;

/** One browser: its cookie goes with every socket, and its sockets can be cut. */
class Browser {
  cookie = '';
  sockets = new Set();

  constructor() {
    const browser = this;
    this.WebSocket = class extends WebSocket {
      constructor(url, protocols) {
        super(url, protocols, { headers: browser.cookie ? { cookie: browser.cookie } : {} });
        browser.sockets.add(this);
        this.on('upgrade', ({ headers }) => {
          const pairs = headers['set-cookie']?.map(cookie => cookie.split(';')[0]) ?? [];
          browser.cookie = pairs.find(pair => pair.startsWith('tidegate_principal=')) ?? browser.cookie;
        });
        this.on('close', () => browser.sockets.delete(this));
      }
    };
  }

  transport() {
    return new ai.WebSocketChatTransport({ url: `ws://${gateway}/api/chat`, webSocket: this.WebSocket });
  }

  chat(id, messages = []) {
    const data = [];
    const chat = new Chat({ id, messages, transport: this.transport(), onData: part => data.push(part) });
    return Object.assign(chat, { data });
  }

  /** As a lost network does it: without a word. */
  cut() {
    for (const socket of this.sockets) {
      socket.terminate();
    }
  }
}

const browsers = [];
const browser = () => {
  const made = new Browser();
  browsers.push(made);
  return made;
};
after(() => browsers.forEach(made => made.cut()));

let names = 0;
const name = () => `chat-${process.pid}-${(names += 1)}`;
const user = (id, text) => ({ id, role: 'user', parts: [{ type: 'text', text }] });
const textOf = message => message.parts.map(part => (part.type === 'text' ? part.text : '')).join('');
const submit = (chatId, ...messages) => ({ chatId, trigger: 'submit-message', messages });

/** All of it, or its beginning; to leave a stream is no stop, while to cancel it is one. */
async function read(stream, most = Infinity) {
  const chunks = [];
  const reader = stream.getReader();
  while (chunks.length < most) {
    const { done, value } = await reader.read();
    if (done) {
      break;
    }
    chunks.push(value);
  }
  return chunks;
}

const deltasOf = chunks => chunks.map(({ type, delta }) => (type === 'text-delta' ? delta : '')).join('');

/** What the model has written so far; the newest message is the person's own until an answer begins. */
const written = ({ lastMessage }) => (lastMessage?.role === 'assistant' ? textOf(lastMessage) : '');

async function until(what, condition) {
  const end = Date.now() + 10_000;
  while (!(await condition())) {
    assert.ok(Date.now() < end, `not within 10 s: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

/** Answers that are being written, by the gateway's own count. */
async function running() {
  const text = await (await fetch(`http://${gateway}/metrics`)).text();
  return Number(/^tidegate_runs (\d+)/m.exec(text)?.[1]);
}

/** What the model answers when nothing interferes. */
async function whole(prompt) {
  return deltasOf(await read(await browser().transport().sendMessages(submit(name(), user('m1', prompt)))));
}

test('an answer comes with its name, its text, its facts and its end', async () => {
  const transport = browser().transport();
  const id = name();
  const chunks = await read(await transport.sendMessages(submit(id, user('m1', '/sim text="A tide." pace_ms=0 first_ms=0'))));
  assert.equal(deltasOf(chunks), 'A tide.');
  assert.match(chunks[0].messageId, /^msg-/);
  const { finishReason, messageMetadata } = chunks.at(-1);
  assert.equal(finishReason, 'stop');
  assert.ok(messageMetadata.duration_ms >= 0 && messageMetadata.usage.output_tokens > 0);
  const second = await read(await transport.sendMessages(submit(id, user('m2', 'How many messages did I write?'))));
  assert.match(deltasOf(second), /2 messages/);
});

test('thinking comes before the text', async () => {
  const prompt = '/sim think=5 tokens=5 pace_ms=0 first_ms=0';
  const chunks = await read(await browser().transport().sendMessages(submit(name(), user('m1', prompt))));
  const types = [...new Set(chunks.map(({ type }) => type))];
  assert.deepEqual(types, [
    'start', 'start-step', 'reasoning-start', 'reasoning-delta', 'reasoning-end',
    'text-start', 'text-delta', 'text-end', 'finish-step', 'finish',
  ]);
});

test('a failure is an error with a sentence, and the chat goes on', async () => {
  const transport = browser().transport();
  const id = name();
  const failing = async text => read(await transport.sendMessages(submit(id, user('m1', text))));
  await assert.rejects(failing('/sim status=400 code=DataInspectionFailed'), /content filter/);
  await assert.rejects(failing('   '), /empty/);
  const next = await transport.sendMessages(submit(id, user('m2', '/sim text="fine" pace_ms=0 first_ms=0')));
  assert.equal(deltasOf(await read(next)), 'fine');
});

test('a stop closes the upstream, and what was written stays', async () => {
  // A run is over a moment after its answer.
  await until('nothing runs', async () => (await running()) === 0);
  const transport = browser().transport();
  const id = name();
  const stop = new AbortController();
  const stream = await transport.sendMessages({
    ...submit(id, user('m1', '/sim tokens=2000 pace_ms=20 first_ms=0')),
    abortSignal: stop.signal,
  });
  const reader = stream.getReader();
  for (let count = 0; count < 6; count += 1) {
    await reader.read();
  }
  await until('it runs', async () => (await running()) === 1);
  stop.abort();
  await until('the run is over', async () => (await running()) === 0);
  const next = await transport.sendMessages(submit(id, user('m2', 'How many messages did I write?')));
  assert.match(deltasOf(await read(next)), /2 messages/);
});

test('a reload in mid-answer gets all of it under the same name', async () => {
  const prompt = pace => `/sim tokens=400 pace_ms=${pace} first_ms=0 seed=11`;
  const expected = await whole(prompt(0));
  const here = browser();
  const id = name();
  const before = await read(await here.transport().sendMessages(submit(id, user('m1', prompt(10)))), 20);
  here.cut();
  const after = await read(await here.transport().reconnectToStream({ chatId: id }));
  assert.equal(deltasOf(after), expected);
  assert.equal(after[0].messageId, before[0].messageId);
  // It has ended, and can still be had; another browser knows of none.
  assert.equal(deltasOf(await read(await here.transport().reconnectToStream({ chatId: id }))), expected);
  assert.equal(await browser().transport().reconnectToStream({ chatId: id }), null);
  assert.equal(await here.transport().reconnectToStream({ chatId: name() }), null);
});

test('many chats share a socket', async () => {
  const here = browser();
  const transport = here.transport();
  const prompts = Array.from({ length: 20 }, (_, seed) => `/sim tokens=30 pace_ms=3 first_ms=0 seed=${seed}`);
  const streams = prompts.map(async prompt => read(await transport.sendMessages(submit(name(), user('m1', prompt)))));
  const answers = (await Promise.all(streams)).map(deltasOf);
  assert.equal(here.sockets.size, 1);
  const expected = await Promise.all(prompts.map(whole));
  assert.deepEqual(answers, expected);
});

test('useChat: send, then another try, then an edit', async () => {
  const chat = browser().chat(name());
  await chat.sendMessage({ text: '/sim tokens=10 pace_ms=0 first_ms=0 seed=1' });
  assert.equal(chat.status, 'ready');
  const [asked, answer] = chat.messages;
  assert.equal(chat.messages.length, 2);
  await chat.regenerate({ messageId: answer.id });
  assert.deepEqual(chat.messages.map(({ role }) => role), ['user', 'assistant']);
  assert.notEqual(chat.messages[1].id, answer.id);
  await chat.sendMessage({ text: 'How many messages did I write?' });
  assert.match(textOf(chat.messages.at(-1)), /2 messages/);
  await chat.sendMessage({ text: 'How many messages did I write?', messageId: asked.id });
  assert.equal(chat.messages.length, 2);
  assert.match(textOf(chat.messages.at(-1)), /1 message/);
});

test('useChat: a reload in mid-answer doubles nothing', async () => {
  const prompt = pace => `/sim tokens=400 pace_ms=${pace} first_ms=0 seed=12`;
  const expected = await whole(prompt(0));
  const here = browser();
  const id = name();
  const first = here.chat(id);
  const sent = first.sendMessage({ text: prompt(10) });
  await until('some text', () => written(first).length > 50);
  here.cut();
  await sent;
  assert.equal(first.status, 'error');
  const kept = structuredClone(first.messages);
  const second = here.chat(id, kept);
  await second.resumeStream();
  assert.equal(second.messages.length, 2, JSON.stringify(second.messages.map(({ id }) => id)));
  assert.equal(second.messages[1].id, kept[1].id);
  assert.equal(textOf(second.messages[1]), expected);
  assert.equal(second.status, 'ready');
});

test('useChat: a stop keeps the text, and a queued question gets its position', async () => {
  const here = browser();
  const id = name();
  const chat = here.chat(id);
  const sent = chat.sendMessage({ text: '/sim tokens=2000 pace_ms=20 first_ms=0' });
  await until('some text', () => written(chat) !== '');
  // Another tab asks meanwhile.
  const other = here.chat(id, structuredClone(chat.messages));
  const waits = other.sendMessage({ text: '/sim text="next" pace_ms=0 first_ms=0' });
  await until('the place', () => other.data.some(({ type }) => type === 'data-queue'));
  assert.equal(other.data.find(({ type }) => type === 'data-queue').data.position, 1);
  await chat.stop();
  await sent;
  assert.equal(chat.status, 'ready');
  assert.notEqual(written(chat), '');
  await waits;
  assert.equal(textOf(other.lastMessage), 'next');
});

test('useChat: an error is shown, and the next message works', async () => {
  const chat = browser().chat(name());
  await chat.sendMessage({ text: '/sim status=400 code=DataInspectionFailed' });
  assert.equal(chat.status, 'error');
  assert.match(chat.error.message, /content filter/);
  await chat.sendMessage({ text: '/sim text="fine" pace_ms=0 first_ms=0' });
  assert.equal(chat.status, 'ready');
  assert.equal(textOf(chat.lastMessage), 'fine');
});
