// How the page is built, and how its tests run.
import { readdirSync, statSync } from "node:fs";
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

/** Writes `.br` and `.gz` beside every text file over 1 KB, so that whoever serves them need not compress. */
function compressed(): Plugin {
  let folder = "";
  return {
    name: "compressed",
    apply: "build",
    configResolved: (config) => {
      folder = join(config.root, config.build.outDir);
      if (config.build.outDir.startsWith("/")) folder = config.build.outDir;
    },
    // All at once: they are made on Node's own threads.
    closeBundle: async () => {
      const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
      const paths = names.filter((name) => SHRINKS.test(name)).map((name) => join(folder, name));
      await Promise.all(paths.filter((path) => statSync(path).size >= 1024).map(compress));
    },
  };
}

const gateway = process.env.TIDEGATE ?? "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [react(), compressed()],
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    sourcemap: false,
    // No file may become a `data:` address: the policy allows none but pictures, and caching likes files.
    assetsInlineLimit: 0,
  },
  // For work on the page: a gateway on port 8000, the page on Vite's own.
  server: { proxy: { "/api": { target: gateway, ws: true } } },
  test: { environment: "jsdom", include: ["src/**/*.test.{ts,tsx}"], restoreMocks: true },
});
