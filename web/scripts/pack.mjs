/**
 * Builds the page and keeps it in `page.pack`, which `build.rs` embeds where the source is unchanged: without Node.js.
 *
 *   npm run pack              builds and writes
 *   npm run pack -- --check   builds, and fails unless the pack holds the same, file by file, unpacked
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliDecompressSync } from "node:zlib";

const WEB = new URL("..", import.meta.url).pathname;
const PACK = join(WEB, "page.pack");
const FORM = "tidegate page 1";
/** The same list as in `build.rs`. */
const INPUTS = [
  "index.html",
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  "vite.config.ts",
  "src",
  "public",
];
/** Fonts and icons are ordinary files below `public/` and do not count. */
const BYTES_MAX = 400 * 1024;

/** Names of all files at or below a path, as `build.rs` lists them: without tests. */
function list(folder, name) {
  if (!statSync(join(folder, name)).isDirectory()) return name.includes(".test.") ? [] : [name];
  return readdirSync(join(folder, name))
    .map((entry) => (name ? `${name}/${entry}` : entry))
    .filter((entry) => entry !== "src/testing")
    .flatMap((entry) => list(folder, entry));
}

/** Sorted by bytes, as in Rust. */
const byBytes = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));

function digest() {
  const hash = createHash("sha256");
  for (const name of INPUTS.flatMap((input) => list(WEB, input)).sort(byBytes)) {
    const bytes = readFileSync(join(WEB, name));
    hash.update(`${name}\0${bytes.length}\0`);
    hash.update(bytes);
  }
  return hash.digest("hex").slice(0, 32);
}

/** Files of a built page to pack: all but those that are copied from `public/` unchanged. */
function collect(dist) {
  const names = list(dist, "").sort(byBytes);
  const isThere = new Set(names);
  return names.flatMap((name) => {
    if (name.endsWith(".br") || name.endsWith(".gz")) return [];
    const plain = readFileSync(join(dist, name));
    if (isThere.has(`${name}.br`)) {
      return [{ name, coding: "br", bytes: readFileSync(join(dist, `${name}.br`)), plain }];
    }
    const source = join(WEB, "public", name);
    if (existsSync(source) && readFileSync(source).equals(plain)) return [];
    return [{ name, coding: "plain", bytes: plain, plain }];
  });
}

function read() {
  const bytes = readFileSync(PACK);
  const end = bytes.indexOf("\n\n");
  const [form, source, ...lines] = bytes.subarray(0, end).toString().split("\n");
  if (form !== FORM) throw new Error(`page.pack does not begin with "${FORM}"`);
  let at = end + 2;
  const files = lines.map((line) => {
    const [size, coding, ...name] = line.split(" ");
    const packed = bytes.subarray(at, at + Number(size));
    at += Number(size);
    return { name: name.join(" "), plain: coding === "br" ? brotliDecompressSync(packed) : packed };
  });
  return { source, files };
}

function differences(source, files) {
  const pack = read();
  const packed = new Map(pack.files.map((file) => [file.name, file.plain]));
  const found = pack.source === source ? [] : ["the digest of the source"];
  for (const file of files) {
    if (!packed.get(file.name)?.equals(file.plain)) found.push(file.name);
    packed.delete(file.name);
  }
  return [...found, ...packed.keys()];
}

const dist = mkdtempSync(join(tmpdir(), "tidegate-pack-"));
try {
  execFileSync("npm", ["run", "--silent", "build", "--", "--outDir", dist, "--emptyOutDir"], {
    cwd: WEB,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const source = digest();
  const files = collect(dist);
  if (process.argv.includes("--check")) {
    const found = existsSync(PACK) ? differences(source, files) : ["it is not there"];
    if (found.length > 0) {
      console.error(
        `web/page.pack is not what the source makes (${found.join(", ")}); renew it: npm run pack`,
      );
      process.exitCode = 1;
    }
  } else {
    const head = files.map(({ bytes, coding, name }) => `${bytes.length} ${coding} ${name}\n`).join("");
    const pack = Buffer.concat([
      Buffer.from(`${FORM}\n${source}\n${head}\n`),
      ...files.map((file) => file.bytes),
    ]);
    if (pack.length > BYTES_MAX) throw new Error(`the pack has ${pack.length} bytes, more than ${BYTES_MAX}`);
    writeFileSync(PACK, pack);
    console.log(`web/page.pack: ${files.length} files, ${pack.length} bytes`);
  }
} finally {
  rmSync(dist, { recursive: true, force: true });
}
