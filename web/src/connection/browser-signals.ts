/** Browser events that trigger a reconnect or a probe: the network is back or gone, the page is visible again. */
import type { BrowserSignals } from "./link";

/** Spreads the pages of one site that come back at the same moment. */
const JITTER_MS = 250;

/** Returns a function that stops listening. */
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
  // Fired after the page was frozen, as on phones.
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
