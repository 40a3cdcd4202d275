/** Simulator, gateway, nginx and a bad network in front: everything a page connects to, started for one test. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { freePort, start } from "./children.mjs";
import { startFront } from "./front.mjs";
import { startNginx } from "./nginx.mjs";
import { startProxy } from "./proxy.mjs";

const BUILT = fileURLToPath(new URL("../../../target/debug/tidegate", import.meta.url));
export const BINARY = process.env.TIDEGATE ?? BUILT;

/** A freshly built page, served instead of the one in the binary. */
const DIST = process.env.PAGE_DIST;

async function startSimulator({ pace, first }) {
  const args = ["simulate", "--listen", "127.0.0.1:0", "--workers", "1"];
  args.push("--pace-ms", String(pace), "--first-ms", String(first));
  const child = await start(BINARY, args, { ready: /base URL ([^\s,]+)/ });
  return {
    url: child.found()[1],
    /** Its answers stop where they are, and its new ones do not begin. */
    pause: () => child.child.kill("SIGSTOP"),
    /** What should have been written meanwhile comes at once. */
    resume: () => child.child.kill("SIGCONT"),
    stop: () => child.stop(),
  };
}

/** A gateway that keeps its port when restarted. */
async function startGateway({ simulator, model, set }) {
  const port = await freePort();
  const keys = {
    "breaker.failures": 0,
    "retry.backoff_min": "20ms",
    "retry.backoff_max": "50ms",
    "server.drain_timeout": "2s",
    ...set,
  };
  const args = simulator
    ? ["serve", "--listen", `127.0.0.1:${port}`, "--base-url", simulator.url, "--model", model]
    : ["demo", "--listen", `127.0.0.1:${port}`];
  for (const [key, value] of Object.entries(keys)) args.push("--set", `${key}=${value}`);
  const run = () =>
    start(BINARY, args, { ready: /listens on/, env: { API_KEY: "sk-test", RUST_LOG: "warn,tidegate=info" } });
  let child = await run();
  return {
    port,
    model: simulator,
    log: () => child.output(),
    ended: () => child.ended(),
    /** Sends a signal without waiting. */
    signal: (name) => child.child.kill(name),
    /** Ends it (`SIGTERM`: it drains first). */
    down: (signal = "SIGKILL") => child.stop(signal),
    async up() {
      child = await run();
    },
    stop: () => child.stop(),
  };
}

/**
 * `model`: of the simulator (`sim-chat`, `sim-think`, `sim-echo`); `set`: keys of the gateway's configuration;
 * `nginx`: the real one stands before it, as in production; `demo`: what the README's first command starts, with its own simulator;
 * `gateways`: how many stand behind nginx, each with a model of its own; `users`: those whom nginx asks for a password.
 */
export async function startStack({
  model = "sim-chat",
  pace = 5,
  first = 20,
  set = {},
  nginx = true,
  users,
  demo = false,
  gateways = 1,
} = {}) {
  if (!existsSync(BINARY)) throw new Error(`${BINARY} is not there: cargo build, or name it in TIDEGATE`);
  const parts = [];
  try {
    return await build({ model, pace, first, set, nginx, users, demo, gateways }, parts);
  } catch (error) {
    await stopAll(parts);
    throw error;
  }
}

async function stopAll(parts) {
  for (const part of parts.splice(0).reverse()) await part.stop();
}

async function build({ model, pace, first, set, nginx, users, demo, gateways: count }, parts) {
  const keep = (part) => {
    parts.push(part);
    return part;
  };
  const gateways = [];
  for (let at = 0; at < count; at++) {
    const simulator = demo ? undefined : keep(await startSimulator({ pace, first }));
    gateways.push(keep(await startGateway({ simulator, model, set })));
  }
  const [gateway] = gateways;
  let near = gateway.port;
  if (nginx)
    near = keep(
      await startNginx(
        gateways.map(({ port }) => port),
        { users },
      ),
    ).port;
  const behind = near;
  if (DIST) near = keep(await startFront(DIST, () => behind)).port;
  const target = near;
  const proxy = keep(await startProxy(() => target));
  return {
    url: `http://127.0.0.1:${proxy.port}`,
    port: proxy.port,
    /** Address of the gateway itself, without a proxy. */
    direct: gateway.port,
    proxy,
    gateways,
    /** Address of the first gateway, usually the only one. */
    down: gateway.down,
    up: gateway.up,
    signal: gateway.signal,
    log: gateway.log,
    stop: () => stopAll(parts),
  };
}
