/** At most one flush per frame of the screen; a page that is not seen has no frames, and a slow timer does. */
export const HIDDEN_MS = 250;

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
