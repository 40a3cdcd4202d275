/** Reads a TypeScript module of the page's own sources, such as the corpus of hostile answers. */
import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

export async function source(path) {
  const { module } = await runnerImport(fileURLToPath(new URL(`../../${path}`, import.meta.url)), {
    configFile: false,
    logLevel: "error",
  });
  return module;
}
