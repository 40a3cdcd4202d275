/** Becomes /sw.js; the build inserts the names of the page's files. */
import { type Scope, TIDY, Worker } from "./worker";

declare const __FILES__: string[];
declare const __BUILD__: string;

interface Extendable extends Event {
  waitUntil(done: Promise<unknown>): void;
}
interface Fetch extends Extendable {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}

const scope = globalThis as unknown as Scope & EventTarget;
const worker = new Worker(scope, __FILES__, __BUILD__);

scope.addEventListener("install", (event) => (event as Extendable).waitUntil(worker.install()));
scope.addEventListener("activate", (event) => (event as Extendable).waitUntil(worker.activate()));
scope.addEventListener("message", (event) => {
  // The page that asks is new.
  if ((event as MessageEvent).data === TIDY) (event as unknown as Extendable).waitUntil(worker.tidy(1));
});
scope.addEventListener("fetch", (event) => {
  const answer = worker.answer((event as Fetch).request);
  if (answer) (event as Fetch).respondWith(answer);
});
