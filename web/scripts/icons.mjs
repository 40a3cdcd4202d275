/** Renders the PNG icons of web/public from icon.svg with Debian's Chromium: `npm run icons`, after every change of icon.svg. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { launch } from "../browser/harness/chromium.mjs";

const folder = new URL("../public/", import.meta.url);
const source = await readFile(new URL("icon.svg", folder), "utf8");

/** Full-bleed, for systems that crop a shape: no round corners, the waves within the middle 80 %. */
const full = source
  .replace(/<rect [^>]*\/>/, '<rect x="-8" y="-8" width="80" height="80" fill="#0b5563"/>')
  .replace('viewBox="0 0 64 64"', 'viewBox="-8 -8 80 80"');

const ICONS = [
  ["icon-192.png", 192, source],
  ["icon-512.png", 512, source],
  ["icon-maskable-512.png", 512, full],
  // An iPhone renders transparency as black.
  ["apple-touch-icon.png", 180, full],
];

const browser = await launch();
for (const [name, size, svg] of ICONS) {
  const page = await browser.newPage({ viewport: { width: size, height: size } });
  await page.setContent(
    `<style>* { margin: 0 } svg { display: block; width: 100vw; height: 100vh }</style>${svg}`,
  );
  await page.screenshot({ path: fileURLToPath(new URL(name, folder)), omitBackground: true });
  await page.close();
}
await browser.close();
