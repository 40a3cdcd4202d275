// How the page is built, and how its tests run.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const SHRINKS = /\.(html|js|css|svg|json|webmanifest|txt)$/;
const brotli = promisify(brotliCompress);
const deflated = promisify(gzip);

async function compress(path: string): Promise<void> {
  const bytes = await readFile(path);
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: 11,
    [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
  };
  await Promise.all([
    brotli(bytes, { params }).then((made) => writeFile(`${path}.br`, made)),
    deflated(bytes, { level: 9 }).then((made) => writeFile(`${path}.gz`, made)),
  ]);
}

/** Writes `.br` and `.gz` next to every text file over 1 KB, so that servers need not compress. */
function compressed(): Plugin {
  let folder = "";
  return {
    name: "compressed",
    apply: "build",
    configResolved: (config) => {
      folder = join(config.root, config.build.outDir);
      if (config.build.outDir.startsWith("/")) folder = config.build.outDir;
    },
    // In parallel, on Node's thread pool.
    closeBundle: async () => {
      const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
      const paths = names.filter((name) => SHRINKS.test(name)).map((name) => join(folder, name));
      await Promise.all(paths.filter((path) => statSync(path).size >= 1024).map(compress));
    },
  };
}

const WORKER = "sw.js";
/** Loaded on first use: the font with the first formula. */
const ON_DEMAND = /\.(woff2|txt|png|LICENSE)$/;

/** Inserts the page's files and a digest of them into the service worker. */
function listed(): Plugin {
  let publicDir = "";
  return {
    name: "listed",
    apply: "build",
    enforce: "post",
    configResolved: (config) => {
      publicDir = config.publicDir;
    },
    generateBundle: {
      order: "post",
      handler: (_, bundle) => {
        const worker = bundle[WORKER];
        if (worker?.type !== "chunk") throw new Error(`there is no ${WORKER}`);
        if (worker.imports.length > 0 || worker.dynamicImports.length > 0)
          throw new Error(`${WORKER} must be one file: it imports ${worker.imports}`);
        const contents = new Map<string, string | Uint8Array>();
        for (const file of Object.values(bundle)) {
          if (file !== worker) contents.set(file.fileName, file.type === "chunk" ? file.code : file.source);
        }
        for (const name of readdirSync(publicDir, { recursive: true, encoding: "utf8" })) {
          const path = join(publicDir, name);
          if (statSync(path).isFile()) contents.set(name.replaceAll("\\", "/"), readFileSync(path));
        }
        const names = [...contents.keys()].sort();
        const hash = createHash("sha256").update(worker.code);
        for (const name of names) hash.update(`\0${name}\0`).update(contents.get(name) ?? "");
        const files = names.filter((name) => name !== "index.html" && !ON_DEMAND.test(name));
        worker.code = worker.code
          .replace("__FILES__", () => JSON.stringify(files.map((name) => `/${name}`)))
          .replace("__BUILD__", () => JSON.stringify(hash.digest("hex").slice(0, 16)));
        if (/__(FILES|BUILD)__/.test(worker.code)) throw new Error(`${WORKER} names its files twice`);
      },
    },
  };
}

const gateway = process.env.TIDEGATE ?? "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [react(), listed(), compressed()],
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    sourcemap: false,
    // No file may become a `data:` address: the policy allows only images, and files are cached better.
    assetsInlineLimit: 0,
    rolldownOptions: {
      input: { index: "index.html", sw: "src/worker/main.ts" },
      output: { entryFileNames: ({ name }) => (name === "sw" ? WORKER : "assets/[name]-[hash].js") },
    },
  },
  // For development: a gateway on port 8000, the page on Vite's port.
  server: { proxy: { "/api": { target: gateway, ws: true } } },
  test: { environment: "jsdom", include: ["src/**/*.test.{ts,tsx}"], restoreMocks: true },
});
