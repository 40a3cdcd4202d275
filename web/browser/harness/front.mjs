/** Serves web/dist like the gateway and proxies the rest, to work on the page without a compiler. */
import { once } from "node:events";
import { createReadStream, existsSync, statSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { extname, join, normalize } from "node:path";

/** The same as in the binary and nginx: their tests compare those two; this one is covered by the browser tests. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; " +
  "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; " +
  "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types tidegate";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".webmanifest": "application/manifest+json",
  ".woff2": "font/woff2",
  ".png": "image/png",
};

export async function startFront(folder, target) {
  const server = http.createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://x").pathname);
    const file = fileOf(folder, path);
    if (file) send(file, path, request, response);
    else pass(request, response, target());
  });
  server.on("upgrade", (request, near, head) => {
    const far = net.connect({ port: target(), host: "127.0.0.1", noDelay: true });
    const lines = [`${request.method} ${request.url} HTTP/1.1`];
    for (let at = 0; at < request.rawHeaders.length; at += 2) {
      lines.push(`${request.rawHeaders[at]}: ${request.rawHeaders[at + 1]}`);
    }
    far.write(`${lines.join("\r\n")}\r\n\r\n`);
    far.write(head);
    near.setNoDelay(true);
    near.pipe(far).pipe(near);
    for (const socket of [near, far]) {
      socket.on("error", () => {
        near.destroy();
        far.destroy();
      });
      socket.on("close", () => {
        near.destroy();
        far.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: server.address().port,
    async stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function fileOf(folder, path) {
  if (path === "/chat" || path.startsWith("/api/") || path.startsWith("/v1/")) return null;
  if (["/livez", "/readyz", "/health", "/metrics"].includes(path)) return null;
  const file = join(folder, normalize(path));
  if (existsSync(file) && statSync(file).isFile()) return file;
  return extname(path) ? null : join(folder, "index.html");
}

function send(file, path, request, response) {
  const encoding = /\bbr\b/.test(request.headers["accept-encoding"] ?? "") && existsSync(`${file}.br`);
  response.writeHead(200, {
    "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": path.startsWith("/assets/") ? "public, max-age=31536000, immutable" : "no-cache",
    Vary: "Accept-Encoding",
    ...(encoding ? { "Content-Encoding": "br" } : {}),
  });
  createReadStream(encoding ? `${file}.br` : file).pipe(response);
}

function pass(request, response, port) {
  const onward = http.request(
    { port, host: "127.0.0.1", method: request.method, path: request.url, headers: request.headers },
    (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders);
      answer.pipe(response);
    },
  );
  onward.on("error", () => {
    response.writeHead(503);
    response.end();
  });
  request.pipe(onward);
}
