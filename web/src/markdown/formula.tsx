/** Maths. Library and font come with the first formula; a source that is no formula is shown as it is. */
import { memo, useLayoutEffect, useRef, useState } from "react";
import css from "./markdown.module.css";

type Typeset = typeof import("./typeset").typeset;

let typeset: Typeset | null = null;
const load = async (): Promise<Typeset> => {
  const { ready } = await import("./typeset");
  typeset = await ready();
  return typeset;
};

export const Formula = memo(function Formula({ source, isBlock }: { source: string; isBlock: boolean }) {
  const place = useRef<HTMLSpanElement>(null);
  const [failed, setFailed] = useState<string | null>(null);
  useLayoutEffect(() => {
    let isCurrent = true;
    const draw = (set: Typeset) => {
      if (!isCurrent || !place.current) return;
      try {
        set(source, place.current, isBlock);
        setFailed(null);
      } catch {
        setFailed(source);
      }
    };
    // Before the next frame where that can be: what is written would flicker, and paper does not wait.
    if (typeset) draw(typeset);
    else load().then(draw, () => isCurrent && setFailed(source));
    return () => {
      isCurrent = false;
    };
  }, [source, isBlock]);
  const isFailed = failed === source;
  return (
    <span className={isBlock ? css.formulaBlock : css.formula} dir="ltr">
      {isFailed && <code>{source}</code>}
      <span ref={place} hidden={isFailed} />
    </span>
  );
});
