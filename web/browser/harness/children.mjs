/** Programs started by a test: identified by their first output, ended with the test. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";

/** Timeout for a program to start or to exit. */
export const PATIENCE = 40_000;

const running = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Runs a program until its output matches `ready`, and returns the match. */
export async function start(command, args, { ready, env, cwd, input } = {}) {
  const child = spawn(command, args, {
    env: { ...process.env, ...env },
    cwd,
    stdio: ["pipe", "pipe", "pipe"],
  });
  child.stdin.end(input ?? "");
  running.add(child);
  child.on("exit", () => running.delete(child));
  let output = "";
  let found = null;
  const listening = new Promise((resolve, reject) => {
    const hear = (bytes) => {
      output = (output + bytes).slice(-20_000);
      found ??= ready ? ready.exec(output) : null;
      if (found) resolve(found);
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`${command} ended with ${code}:\n${output}`)));
    setTimeout(() => reject(new Error(`${command} is not ready:\n${output}`)), PATIENCE).unref();
  });
  listening.catch(() => {});
  const started = {
    child,
    output: () => output,
    found: () => found,
    ended: () => child.exitCode !== null || child.signalCode !== null,
    async stop(signal = "SIGKILL") {
      if (started.ended()) return;
      const gone = once(child, "exit");
      child.kill(signal);
      await gone;
    },
  };
  if (ready) {
    try {
      await listening;
    } catch (error) {
      await started.stop();
      throw error;
    }
  }
  return started;
}

/** A port that was free a moment ago. */
export async function freePort() {
  const server = net.createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Whether the port accepts connections. */
export function answers(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

/** Polls until the condition holds. */
export async function until(what, condition, patience = PATIENCE) {
  const end = Date.now() + patience;
  let last;
  for (;;) {
    last = await condition();
    if (last) return last;
    if (Date.now() > end) throw new Error(`waited ${patience} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
}
