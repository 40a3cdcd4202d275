/** At most one flush per frame of the screen. A page that is not seen has no frames, or few: there a timer does, slow, but so that tabs look alike. */
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
