/** A table in its own box. If it is wider than the page, it scrolls there, and a shadow at the edge shows that there is more. */
import { type ReactNode, useEffect, useRef, useState } from "react";
import css from "./markdown.module.css";

/** Tolerance for rounding on a zoomed page. */
const SLACK_PX = 1;

/** The sides with hidden content: `left`, `right`, both, or none. */
function hiddenSides(box: HTMLElement): string {
  const most = box.scrollWidth - box.clientWidth;
  if (most <= SLACK_PX) return "";
  // In right-to-left text, the position counts down from zero.
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
    // Also called once at the beginning.
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
        // A scrolling region is focusable and named; one that does not scroll is not a tab stop.
        {...(scrolls ? { role: "group", "aria-label": label, tabIndex: 0 } : {})}
      >
        <table ref={table}>{children}</table>
      </div>
    </div>
  );
}
