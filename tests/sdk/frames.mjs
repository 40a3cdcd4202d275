// The frames of tests/fixtures/ai_sdk against the client's own code: its chunk schema, its validator of
// client frames, and its transport, which is given every scene of the server through a socket of ours.
// NODE_PACKAGES is the folder that package.json was installed in.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';

const packages = createRequire(`${process.env.NODE_PACKAGES}/`);
const ai = await import(pathToFileURL(packages.resolve('ai')));
const fixture = name =>
  JSON.parse(readFileSync(new URL(`../fixtures/ai_sdk/${name}.json`, import.meta.url), 'utf8'));

test('the package is the one that the documents name', () => {
  assert.equal(packages('ai/package.json').version, packages(`${process.env.NODE_PACKAGES}/package.json`).dependencies.ai);
});

test('every chunk passes the schema and loses nothing in it', async () => {
  const schema = ai.uiMessageChunkSchema();
  let seen = 0;
  for (const { frames } of fixture('server')) {
    for (const { type, chunk } of frames) {
      if (type === 'chunk') {
        const result = await schema.validate(chunk);
        assert.ok(result.success, `${JSON.stringify(chunk)}: ${result.error}`);
        assert.deepEqual(result.value, chunk);
        seen += 1;
      }
    }
  }
  assert.ok(seen > 40, `${seen} chunks`);
});

test('the validator takes every good frame, but for those that are marked', async () => {
  for (const { name, frame, stock = true } of fixture('client_good')) {
    const { success } = await ai.safeValidateWebSocketChatTransportRequest({ value: frame });
    assert.equal(success, stock, name);
  }
});

/** Lets the transport ask its question, and answers with frames under the request's own name. */
async function play(frames, { resume }) {
  const answered = [];
  class Socket {
    readyState = 1;
    bufferedAmount = 0;
    constructor() {
      setImmediate(() => this.onopen?.({}));
    }
    send(text) {
      const { requestId } = JSON.parse(text);
      for (const frame of frames) {
        this.onmessage({ data: JSON.stringify({ ...frame, requestId: frame.requestId && requestId }) });
      }
    }
    close(code) {
      answered.push(code);
    }
  }
  const transport = new ai.WebSocketChatTransport({ url: 'ws://a.test/api/chat', webSocket: Socket });
  const message = { id: 'm1', role: 'user', parts: [{ type: 'text', text: 'hi' }] };
  const chunks = [];
  let failed;
  try {
    const stream = resume
      ? await transport.reconnectToStream({ chatId: 'c1' })
      : await transport.sendMessages({ chatId: 'c1', trigger: 'submit-message', messages: [message] });
    if (stream == null) {
      return { chunks: null, closed: answered };
    }
    for await (const chunk of stream) {
      chunks.push(chunk);
    }
  } catch (error) {
    failed = error.message;
  }
  return { chunks, failed, closed: answered };
}

test('the transport takes every scene as it is meant', async () => {
  let played = 0;
  for (const { name, frames } of fixture('server')) {
    const first = frames.find(frame => frame.type === 'chunk');
    const last = frames.at(-1);
    // A resume with a number, a pong and what has no name are for clients of other makes.
    if (first?.sequence > 0 || last.type === 'pong' || last.requestId === '') {
      continue;
    }
    const resume = ['start', 'no-active'].includes(frames[0].type);
    const { chunks, failed, closed } = await play(frames, { resume });
    assert.deepEqual(closed, [], `${name}: the client never closes the socket`);
    if (last.type === 'no-active') {
      assert.equal(chunks, null, name);
    } else if (last.type === 'error') {
      assert.equal(failed, last.errorText, name);
    } else {
      assert.equal(failed, undefined, name);
      const sent = frames.filter(frame => frame.type === 'chunk').map(frame => frame.chunk);
      assert.deepEqual(chunks, sent, name);
    }
    played += 1;
  }
  assert.ok(played > 20, `${played} scenes`);
});

test('frames for no request of its own are nothing to the transport', async () => {
  const nameless = fixture('server').flatMap(({ frames }) => frames.filter(frame => frame.requestId === ''));
  assert.ok(nameless.length > 2);
  const answer = fixture('server')[0].frames;
  const { chunks, failed, closed } = await play([...nameless, ...answer], { resume: false });
  assert.deepEqual([failed, closed], [undefined, []]);
  assert.equal(chunks.length, answer.length - 1);
});

test('what the page is shown is the text, the thinking and the facts', async () => {
  const { frames } = fixture('server')[0];
  const chunks = frames.filter(frame => frame.type === 'chunk').map(frame => frame.chunk);
  let message;
  for await (message of ai.readUIMessageStream({ stream: ReadableStream.from(chunks) }));
  const { duration_ms, model, usage } = message.metadata;
  assert.deepEqual([message.id, model, duration_ms], ['msg-0000000000000000000000000000002a-1', 'qwen-plus', 1830]);
  assert.equal(usage.reasoning_tokens, 4);
  const shown = message.parts.map(({ type, text, state }) => [type, text, state].filter(Boolean).join(' '));
  assert.deepEqual(shown, ['step-start', 'reasoning Rise, fall. done', 'text A tide is "the rise"\n done']);
});
