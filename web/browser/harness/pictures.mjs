/** Compares a screenshot with a stored one by its ink, ignoring differences in smoothing between browser versions. */
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const FOLDER = fileURLToPath(new URL("../pictures/", import.meta.url));

/** Runs in a page: the share of ink in either image without ink nearby in the other, and how the sizes of the ink differ. */
async function compare([first, second]) {
  const NEAR_PX = 2;
  const read = async (base64) => {
    const image = new Image();
    image.src = `data:image/png;base64,${base64}`;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, image.width, image.height);
    let [left, top, right, bottom] = [image.width, image.height, 0, 0];
    const isInk = (x, y) => data[(y * image.width + x) * 4 + 1] < 128;
    for (let y = 0; y < image.height; y += 1) {
      for (let x = 0; x < image.width; x += 1) {
        if (!isInk(x, y)) continue;
        [left, top] = [Math.min(left, x), Math.min(top, y)];
        [right, bottom] = [Math.max(right, x + 1), Math.max(bottom, y + 1)];
      }
    }
    const [width, height] = [Math.max(0, right - left), Math.max(0, bottom - top)];
    const ink = (x, y) => x >= 0 && y >= 0 && x < width && y < height && isInk(left + x, top + y);
    return { width, height, ink };
  };
  const strange = (one, other) => {
    const hasNear = (x, y) => {
      for (let dy = -NEAR_PX; dy <= NEAR_PX; dy += 1)
        for (let dx = -NEAR_PX; dx <= NEAR_PX; dx += 1) if (other.ink(x + dx, y + dy)) return true;
      return false;
    };
    let [all, alone] = [0, 0];
    for (let y = 0; y < one.height; y += 1) {
      for (let x = 0; x < one.width; x += 1) {
        if (!one.ink(x, y)) continue;
        all += 1;
        if (!hasNear(x, y)) alone += 1;
      }
    }
    return all === 0 ? 1 : alone / all;
  };
  const [a, b] = [await read(first), await read(second)];
  const size = Math.max(
    Math.abs(a.width - b.width) / Math.max(1, b.width),
    Math.abs(a.height - b.height) / Math.max(1, b.height),
  );
  return { strange: Math.max(strange(a, b), strange(b, a)), size };
}

/** `page`: an empty page for the computation. With BLESS, the screenshot is stored. */
export async function against(page, name, png) {
  const path = `${FOLDER}${name}.png`;
  if (process.env.BLESS) {
    await mkdir(FOLDER, { recursive: true });
    await writeFile(path, png);
  }
  if (!existsSync(path)) throw new Error(`${path} is not there: BLESS=1 makes it; look at it`);
  const stored = await readFile(path);
  return await page.evaluate(compare, [png.toString("base64"), stored.toString("base64")]);
}
