/** A bad network: a TCP relay whose connections can be cut, reset, stalled or refused. */
import { once } from "node:events";
import net from "node:net";

export async function startProxy(target) {
  const pairs = new Set();
  let refusing = false;
  let stalled = false;
  /** Bytes towards the browser after which a connection is cut; called once per connection. */
  let budget = () => Number.POSITIVE_INFINITY;

  const drop = (pair, reset) => {
    pairs.delete(pair);
    for (const socket of [pair.near, pair.far]) {
      if (reset && !socket.destroyed) socket.resetAndDestroy();
      else socket.destroy();
    }
  };

  const server = net.createServer({ noDelay: true }, (near) => {
    if (refusing) {
      near.resetAndDestroy();
      return;
    }
    const far = net.connect({ port: target(), host: "127.0.0.1", noDelay: true });
    const pair = { near, far, left: budget(), upgraded: false };
    pairs.add(pair);
    const end = () => drop(pair, false);
    for (const socket of [near, far]) {
      socket.on("error", end);
      socket.on("close", end);
    }
    near.on("data", (bytes) => {
      if (bytes.includes("Upgrade: websocket")) pair.upgraded = true;
      if (!far.write(bytes)) near.pause();
    });
    far.on("drain", () => near.resume());
    far.on("data", (bytes) => {
      if (pair.upgraded) pair.left -= bytes.length;
      if (!near.write(bytes)) far.pause();
      if (pair.left <= 0) drop(pair, true);
    });
    near.on("drain", () => stalled || far.resume());
    if (stalled) far.pause();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  return {
    port: server.address().port,
    /** Ends open connections: with FIN, or like a lost network. */
    cut({ reset = true } = {}) {
      for (const pair of [...pairs]) drop(pair, reset);
    },
    /** Open WebSockets. */
    sockets: () => [...pairs].filter((pair) => pair.upgraded).length,
    refuse(on) {
      refusing = on;
      if (on) for (const pair of [...pairs]) drop(pair, true);
    },
    /** Open connections stay, but no more data arrives: no FIN, no RST. */
    stall(on) {
      stalled = on;
      for (const pair of pairs) {
        if (on) pair.far.pause();
        else pair.far.resume();
      }
    },
    cutAfter(next) {
      budget = next;
    },
    async stop() {
      for (const pair of [...pairs]) drop(pair, true);
      server.close();
      await once(server, "close");
    },
  };
}
