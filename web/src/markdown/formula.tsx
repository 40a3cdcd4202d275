/** Maths. Library and font are loaded with the first formula; an invalid source is shown as text. */
import { memo, useLayoutEffect, useRef, useState } from "react";
import css from "./markdown.module.css";
import { Pending } from "./pending";

type Typeset = typeof import("./typeset").typeset;

let typeset: Typeset | null = null;
const load = async (): Promise<Typeset> => {
  const { ready } = await import("./typeset");
  typeset = await ready();
  return typeset;
};

interface Props {
  source: string;
  isBlock: boolean;
  /** Label of its placeholder. */
  label: string;
}

export const Formula = memo(function Formula({ source, isBlock, label }: Props) {
  const place = useRef<HTMLSpanElement>(null);
  const [failed, setFailed] = useState<string | null>(null);
  const [isLoading, setIsLoading] = useState(typeset === null);
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
    // Before the next frame if possible: otherwise growing text would flicker, and printing does not wait.
    if (typeset) draw(typeset);
    else
      load()
        .then(draw, () => isCurrent && setFailed(source))
        .finally(() => isCurrent && setIsLoading(false));
    return () => {
      isCurrent = false;
    };
  }, [source, isBlock]);
  const isFailed = failed === source;
  return (
    <span className={isBlock ? css.formulaBlock : css.formula} dir="ltr">
      {isLoading && <Pending label={label} isBlock={isBlock} />}
      {isFailed && <code>{source}</code>}
      <span ref={place} hidden={isFailed} />
    </span>
  );
});
