/** Reads a TypeScript module of the page's own sources, such as the corpus of hostile answers. */
import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

const loaded = new Map();

/** Each module is compiled once: that takes as long as a short test, and stops all others of this process. */
export function source(path) {
  if (!loaded.has(path)) loaded.set(path, load(path));
  return loaded.get(path);
}

async function load(path) {
  const { module } = await runnerImport(fileURLToPath(new URL(`../../${path}`, import.meta.url)), {
    configFile: false,
    logLevel: "error",
  });
  return module;
}
