// What a user of the official OpenAI SDK for Node.js sees when it talks to the simulator's chat dialect.
// SIMULATOR is its host and port; NODE_PACKAGES is the folder that package.json was installed in.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';

const packages = createRequire(`${process.env.NODE_PACKAGES}/`);
const { OpenAI } = packages('openai');

const sdk = (apiKey = 'sk-test', maxRetries = 0) =>
  new OpenAI({ apiKey, baseURL: `http://${process.env.SIMULATOR}/v1`, maxRetries });

async function stream(content, client = sdk()) {
  const chunks = [];
  const answer = await client.chat.completions.create({
    model: 'sim-chat', messages: [{ role: 'user', content }], stream: true, stream_options: { include_usage: true },
  });
  for await (const chunk of answer) chunks.push(chunk);
  return chunks;
}

const words = chunks => chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('');

test('the package is the one that was installed', () => {
  const wanted = packages(`${process.env.NODE_PACKAGES}/package.json`).dependencies.openai;
  assert.equal(packages(`${process.env.NODE_PACKAGES}/node_modules/openai/package.json`).version, wanted);
});

test('a plain reply', async () => {
  const reply = await sdk().chat.completions.create({
    model: 'sim-chat', messages: [{ role: 'user', content: '/sim text="Hello there"' }],
  });
  assert.equal(reply.choices[0].message.content, 'Hello there');
  assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
});

test('a stream with thinking and usage in every spelling', async () => {
  for (const spell of ['plain', 'llamacpp', 'vllm', 'sglang', 'ollama', 'azure', 'deepseek', 'moonshot', 'openrouter']) {
    const chunks = await stream(`/sim text="One two 三四 🌊" think=2 seed=1 spell=${spell}`);
    assert.equal(words(chunks), 'One two 三四 🌊', spell);
    const choices = chunks.flatMap(chunk => chunk.choices);
    assert.equal(choices.at(-1).finish_reason, 'stop', spell);
    const thoughts = choices.filter(({ delta }) => delta.reasoning_content || delta.reasoning);
    assert.equal(thoughts.length, 2, spell);
    const usages = [...chunks, ...choices].filter(({ usage }) => usage);
    assert.deepEqual(usages.map(({ usage }) => usage.completion_tokens), [7], spell);
  }
});

test('the list of models', async () => {
  const names = [];
  for await (const { id } of sdk().models.list()) names.push(id);
  assert.deepEqual(names, ['sim-chat', 'sim-echo', 'sim-think']);
});

test('errors before the stream', async () => {
  for (const [kind, status, code] of [
    ['too_long', 400, 'context_length_exceeded'],
    ['filter', 400, 'content_policy_violation'],
    ['key', 401, 'invalid_api_key'],
    ['rights', 403, 'access_denied'],
    ['model', 404, 'model_not_found'],
    ['rate', 429, 'rate_limit_exceeded'],
    ['fault', 500, null],
    ['loading', 503, null],
  ]) {
    const error = await stream(`/sim error=${kind}`).catch(error => error);
    assert.deepEqual([error.status, error.code], [status, code], kind);
  }
  const refused = await stream('hi', sdk('sk-invalid')).catch(error => error);
  assert.ok(refused instanceof OpenAI.AuthenticationError);
});

test('it asks again when it was told', async () => {
  const message = `/sim text=ok error=rate retry_after_ms=50 times=1 tag=${crypto.randomUUID()}`;
  assert.equal(words(await stream(message, sdk('sk-test', 1))), 'ok');
});

test('an error in the stream', async () => {
  for (const shape of ['object', 'event', 'choice']) {
    const error = await stream(`/sim text="a b" error_after=1 break=${shape}`).catch(error => error);
    assert.ok(error instanceof OpenAI.APIError, `${shape}: ${error}`);
  }
});
