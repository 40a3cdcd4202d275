/** What the browser tells that is worth an attempt at once: the network is back, the page is seen again. */
import type { Link } from "./link";

/** Many pages of one office come back in the same moment. */
const JITTER_MS = 250;

/** Returns how to stop listening. */
export function listen(link: Pick<Link, "retry">, random: () => number): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => link.retry(), random() * JITTER_MS);
  };
  const seen = () => {
    if (document.visibilityState === "visible") soon();
  };
  window.addEventListener("online", soon);
  window.addEventListener("pageshow", soon);
  window.addEventListener("offline", soon);
  document.addEventListener("visibilitychange", seen);
  // It was frozen, as a phone does with what is not seen.
  document.addEventListener("resume", soon);
  return () => {
    clearTimeout(timer);
    window.removeEventListener("online", soon);
    window.removeEventListener("pageshow", soon);
    window.removeEventListener("offline", soon);
    document.removeEventListener("visibilitychange", seen);
    document.removeEventListener("resume", soon);
  };
}
