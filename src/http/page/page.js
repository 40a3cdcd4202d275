// A small page for the plain dialect of /chat: text out, text in, `Error: …` is an error.
'use strict';
const by = (id) => document.getElementById(id);
const thread = by('thread');
let socket;
let answer;
let pause = 500;

function show(kind, text) {
  const line = document.createElement('p');
  line.className = kind;
  line.textContent = text;
  thread.append(line);
  line.scrollIntoView({ block: 'end' });
  return line;
}

function state(text) {
  by('state').textContent = text;
}

function connect() {
  state('connecting …');
  socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/chat`);
  socket.onopen = () => {
    pause = 500;
    state('connected');
  };
  socket.onmessage = ({ data }) => {
    if (data.startsWith('Error: ')) {
      show('error', data);
      answer = undefined;
      return;
    }
    answer ??= show('assistant', '');
    answer.append(data);
    answer.scrollIntoView({ block: 'end' });
  };
  socket.onclose = () => {
    if (answer) show('error', 'The connection broke; the answer may be incomplete.');
    answer = undefined;
    // The conversation lives in the socket, so a new one begins anew.
    const wait = pause * (0.5 + Math.random());
    pause = Math.min(pause * 2, 20000);
    state(`disconnected; trying again in ${Math.ceil(wait / 1000)} s`);
    setTimeout(connect, wait);
  };
}

function send() {
  const text = by('text').value;
  if (!text.trim() || socket.readyState !== WebSocket.OPEN) return;
  show('user', text);
  answer = undefined;
  socket.send(text);
  by('text').value = '';
}

by('form').addEventListener('submit', (event) => {
  event.preventDefault();
  send();
});
by('text').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
fetch('/v1/models').then((reply) => reply.json()).then(({ data: [model] }) => {
  by('model').textContent = model.id;
  by('simulated').hidden = model.owned_by !== 'tidegate-simulator';
});
connect();
