/** The real nginx with the shipped files, on a free port, started as in tests/it. */

import { existsSync } from "node:fs";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { answers, freePort, start, until } from "./children.mjs";

const SHIPPED = new URL("../../../nginx/", import.meta.url);

/** `gateways` are ports on this machine; `users`: a password file. */
export async function startNginx(gateways, { users } = {}) {
  const servers = (marks) => gateways.map((port) => `server 127.0.0.1:${port} ${marks};`).join(" ");
  const folder = await mkdtemp(join(tmpdir(), "tidegate-nginx-"));
  await cp(SHIPPED, folder, { recursive: true });
  const port = await freePort();
  if (users) await writeFile(join(folder, "users"), users);
  const logIn = users ? `include ${folder}/basic-auth.conf;` : "";
  const user = process.getuid() === 0 ? "user root;" : "";
  await writeFile(
    join(folder, "main.conf"),
    `daemon off; master_process off; ${user} pid ${folder}/nginx.pid; error_log stderr crit;
     events { worker_connections 1024; }
     http {
       client_body_temp_path ${folder}/1; proxy_temp_path ${folder}/2; fastcgi_temp_path ${folder}/3;
       uwsgi_temp_path ${folder}/4; scgi_temp_path ${folder}/5;
       include ${folder}/http.conf;
       access_log ${folder}/access.log tidegate;
       upstream gateway { include ${folder}/upstream.conf; ${servers("max_fails=2 fail_timeout=5s")} }
       upstream gateway_socket { include ${folder}/upstream-socket.conf; ${servers("max_fails=0")} }
       server { listen 127.0.0.1:${port}; ${logIn} include ${folder}/server.conf; }
     }`,
  );
  const command = existsSync("/usr/sbin/nginx") ? "/usr/sbin/nginx" : "nginx";
  const child = await start(command, ["-e", "stderr", "-p", folder, "-c", join(folder, "main.conf")]);
  await until("nginx listens", () => child.ended() || answers(port));
  if (child.ended()) throw new Error(`nginx ended: ${child.output()}`);
  return {
    port,
    async stop() {
      await child.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
