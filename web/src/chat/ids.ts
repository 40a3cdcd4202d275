/** Ids made by the page. `crypto.randomUUID` is missing on plain HTTP, `getRandomValues` is not. */
const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz";

/** 16 letters and digits: 82 bits, short enough to read. */
export function newId(prefix: string): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let id = `${prefix}-`;
  for (const byte of bytes) id += ALPHABET[byte % ALPHABET.length];
  return id;
}
