/** Maths. Library and font come with the first formula; a source that is no formula is shown as it is. */
import { memo, useEffect, useRef, useState } from "react";
import css from "./markdown.module.css";

const load = () => import("./typeset").then(({ ready }) => ready());

export const Formula = memo(function Formula({ source, isBlock }: { source: string; isBlock: boolean }) {
  const place = useRef<HTMLSpanElement>(null);
  const [failed, setFailed] = useState<string | null>(null);
  useEffect(() => {
    let isCurrent = true;
    load().then(
      (typeset) => {
        if (!isCurrent || !place.current) return;
        try {
          typeset(source, place.current, isBlock);
          setFailed(null);
        } catch {
          setFailed(source);
        }
      },
      () => isCurrent && setFailed(source),
    );
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
