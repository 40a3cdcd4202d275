/** What the browser tells that is worth an attempt or a question: the network is back or gone, the page is seen again. */
import type { BrowserSignals } from "./link";

/** Many pages of one office come back in the same moment. */
const JITTER_MS = 250;

/** Returns how to stop listening. */
export function listen(link: BrowserSignals, random: () => number): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => link.wake(), random() * JITTER_MS);
  };
  const looked = () => {
    const isVisible = document.visibilityState === "visible";
    link.setVisible(isVisible);
    if (isVisible) soon();
  };
  const gone = () => {
    clearTimeout(timer);
    link.offline();
  };
  link.setVisible(document.visibilityState === "visible");
  window.addEventListener("online", soon);
  window.addEventListener("pageshow", soon);
  window.addEventListener("offline", gone);
  document.addEventListener("visibilitychange", looked);
  // It was frozen, as a phone does with what is not seen.
  document.addEventListener("resume", soon);
  return () => {
    clearTimeout(timer);
    window.removeEventListener("online", soon);
    window.removeEventListener("pageshow", soon);
    window.removeEventListener("offline", gone);
    document.removeEventListener("visibilitychange", looked);
    document.removeEventListener("resume", soon);
  };
}
