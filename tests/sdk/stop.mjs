// How long after a stop, and after a lost socket, the model service sees its connection closed:
//   NODE_PACKAGES=target/node node tests/sdk/stop.mjs target/release/tidegate [ROUNDS=400]
// Both ends are in this process, so that one clock measures both; what Node.js itself takes is counted too.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const packages = createRequire(`${process.env.NODE_PACKAGES ?? 'target/node'}/`.replace(/^(?!\/)/, `${process.cwd()}/`));
const WebSocket = packages('ws');
const [program, rounds = 400] = process.argv.slice(2);

const event = JSON.stringify({ output: { choices: [{ message: { content: 'Hello', role: 'assistant' }, finish_reason: 'null' }] } });
let onClose;
const service = createServer((request, response) => {
  request.resume();
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(`data:${event}\n\n`);
  const { socket } = response;
  socket.once('close', () => onClose?.(process.hrtime.bigint()));
});
service.listen(0, '127.0.0.1');
await once(service, 'listening');
const base = `http://127.0.0.1:${service.address().port}/api/v1`;
const gateway = spawn(program, ['serve', '--listen', '127.0.0.1:0', '--base-url', base, '--set', 'session.detached_timeout=100ms'], {
  env: { API_KEY: 'sk-test', RUST_LOG: 'info' },
  stdio: ['ignore', 'pipe', 'pipe'],
});
const address = await new Promise((resolve, reject) => {
  let output = '';
  const hear = data => {
    output += data;
    const found = /127\.0\.0\.1:(\d+)/.exec(output.replace(base, ''));
    if (found) resolve(found[0]);
  };
  gateway.stdout.on('data', hear);
  gateway.stderr.on('data', hear);
  gateway.once('exit', code => reject(new Error(`the gateway ended with ${code}: ${output}`)));
});

/** One answer in mid-stream, then `leave`; milliseconds until the service sees it. */
async function round(path, question, leave) {
  const socket = new WebSocket(`ws://${address}${path}`);
  const answered = new Promise(resolve => socket.on('message', data => data.includes('Hello') && resolve()));
  socket.once('open', () => socket.send(question));
  await answered;
  const closed = new Promise(resolve => (onClose = resolve));
  const since = process.hrtime.bigint();
  leave(socket);
  const took = Number((await closed) - since) / 1e6;
  socket.terminate();
  return took;
}

let names = 0;
const ask = () =>
  JSON.stringify({
    type: 'send', requestId: 'r', id: `c${(names += 1)}`, trigger: 'submit-message', headers: {}, body: {},
    messages: [{ id: 'm', role: 'user', parts: [{ type: 'text', text: 'hi' }] }],
  });
const ways = {
  'abort, /api/chat': () => round('/api/chat', ask(), socket => socket.send('{"type":"abort","requestId":"r"}')),
  'socket closed, /chat': () => round('/chat', 'hi', socket => socket.terminate()),
  'socket closed, /api/chat, linger 100 ms': () => round('/api/chat', ask(), socket => socket.terminate()),
};
for (const [name, way] of Object.entries(ways)) {
  const times = [];
  for (let n = -20; n < rounds; n += 1) {
    const took = await way();
    if (n >= 0) times.push(took); // The first ones warm up.
  }
  times.sort((a, b) => a - b);
  const at = share => times[Math.min(times.length - 1, Math.floor(times.length * share))].toFixed(2);
  console.log(`${name}: ${times.length} rounds, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`);
}
gateway.kill('SIGTERM');
await once(gateway, 'exit');
service.closeAllConnections();
service.close();
