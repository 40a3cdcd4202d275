/** Maths. The library comes when the first formula does; until then, and where it fails, one sees the source. */
import { memo, useEffect, useRef, useState } from "react";
import css from "./markdown.module.css";

const load = () => import("katex");

export const Formula = memo(function Formula({ source, isBlock }: { source: string; isBlock: boolean }) {
  const place = useRef<HTMLSpanElement>(null);
  const [failed, setFailed] = useState<string | null>(null);
  useEffect(() => {
    let isCurrent = true;
    load().then(
      ({ default: katex }) => {
        if (!isCurrent || !place.current) return;
        try {
          // MathML needs no fonts and no styles, and is built node by node: the page's policy forbids HTML from text.
          katex.render(source, place.current, {
            output: "mathml",
            displayMode: isBlock,
            throwOnError: true,
            trust: false,
            strict: false,
            maxExpand: 200,
            maxSize: 20,
          });
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
