/** A table in a box of its own. One that is wider than the page scrolls in it, and a shade at the edge shows where there is more. */
import { type ReactNode, useEffect, useRef, useState } from "react";
import css from "./markdown.module.css";

/** Rounding of a zoomed page is no overflow. */
const SLACK_PX = 1;

/** Where something is out of sight: `left`, `right`, both, or nothing at all. */
function hiddenSides(box: HTMLElement): string {
  const most = box.scrollWidth - box.clientWidth;
  if (most <= SLACK_PX) return "";
  // In a text from right to left, the place is counted down from zero.
  const isReversed = getComputedStyle(box).direction === "rtl";
  const left = isReversed ? most + box.scrollLeft : box.scrollLeft;
  return [left > SLACK_PX && "left", left < most - SLACK_PX && "right"].filter(Boolean).join(" ");
}

interface Props {
  label: string;
  dir?: string;
  children: ReactNode;
}

export function TableBox({ label, dir, children }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const table = useRef<HTMLTableElement>(null);
  const [sides, setSides] = useState("");
  useEffect(() => {
    const element = box.current;
    if (!element || !table.current || typeof ResizeObserver === "undefined") return;
    const look = () => setSides(hiddenSides(element));
    // Told once at the beginning, too.
    const observer = new ResizeObserver(look);
    observer.observe(element);
    observer.observe(table.current);
    element.addEventListener("scroll", look, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, []);
  const scrolls = sides !== "";
  return (
    <div className={css.table} dir={dir} data-more={sides || undefined}>
      <div
        ref={box}
        className={css.tableScroll}
        // A region that scrolls is reached and moved by keys, and has a name; one that does not is no stop on the way.
        {...(scrolls ? { role: "group", "aria-label": label, tabIndex: 0 } : {})}
      >
        <table ref={table}>{children}</table>
      </div>
    </div>
  );
}
