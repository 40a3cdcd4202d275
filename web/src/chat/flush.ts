/** At most one flush per animation frame. A hidden page has few or no frames, so a timer flushes there. */
const HIDDEN_MS = 80;

export function perFrame(flush: () => void): () => void {
  let isAsked = false;
  const run = () => {
    isAsked = false;
    flush();
  };
  return () => {
    if (isAsked) return;
    isAsked = true;
    if (document.visibilityState === "hidden") setTimeout(run, HIDDEN_MS);
    else {
      // A page that is hidden before its next frame still gets its text.
      const timer = setTimeout(() => {
        cancelAnimationFrame(frame);
        run();
      }, HIDDEN_MS);
      const frame = requestAnimationFrame(() => {
        clearTimeout(timer);
        run();
      });
    }
  };
}
