/** A code block: language, copy button, and syntax colours when loaded. */
import { memo, type ReactNode, useEffect, useState } from "react";
import { copyText } from "../components/copy";
import type { Labels } from "./contract";
import css from "./markdown.module.css";

type Highlight = (code: string, language: string) => ReactNode;

/** Maximum characters coloured in every frame while it grows. */
const OPEN_MAX = 4_000;
/** Maximum characters coloured at once when complete; larger blocks are coloured when idle. */
const SOON_MAX = 20_000;
/** Maximum characters that are coloured at all. */
const COLOURED_MAX = 200_000;
const RESULT_MS = 1_600;

let highlight: Highlight | null = null;
let loading: Promise<void> | undefined;
const load = () => {
  loading ??= import("./highlight").then((module) => {
    highlight = module.highlight;
  });
  return loading;
};

const whenIdle = (action: () => void): (() => void) => {
  if (typeof requestIdleCallback === "function") {
    const id = requestIdleCallback(action, { timeout: 2_000 });
    return () => cancelIdleCallback(id);
  }
  const timer = setTimeout(action, 50);
  return () => clearTimeout(timer);
};

/** The highlighter, or null until it is loaded. */
function useColours(code: string, language: string, isOpen: boolean): ReactNode {
  const [isLoaded, setIsLoaded] = useState(highlight !== null);
  const [late, setLate] = useState<{ code: string; drawn: ReactNode } | null>(null);
  const isLate = !isOpen && code.length > SOON_MAX && code.length <= COLOURED_MAX;
  useEffect(() => {
    if (language === "" || isLoaded) return;
    let isCurrent = true;
    load().then(
      () => isCurrent && setIsLoaded(true),
      // It is readable without colours.
      () => undefined,
    );
    return () => {
      isCurrent = false;
    };
  }, [language, isLoaded]);
  useEffect(() => {
    if (!isLate || !isLoaded) return;
    return whenIdle(() => setLate({ code, drawn: highlight?.(code, language) }));
  }, [isLate, isLoaded, code, language]);
  if (!highlight || language === "") return null;
  if (isLate) return late?.code === code ? late.drawn : null;
  return code.length <= (isOpen ? OPEN_MAX : SOON_MAX) ? highlight(code, language) : null;
}

function CopyCode({ code, labels }: { code: string; labels: Labels }) {
  const [result, setResult] = useState("");
  useEffect(() => {
    if (result === "") return;
    const timer = setTimeout(() => setResult(""), RESULT_MS);
    return () => clearTimeout(timer);
  }, [result]);
  return (
    <button
      type="button"
      aria-label={labels.copy}
      onClick={async () => setResult((await copyText(code)) ? labels.copied : labels.copyFailed)}
    >
      <span aria-live="polite">{result || labels.copy}</span>
    </button>
  );
}

interface Props {
  code: string;
  info: string;
  /** Label for code without a language. */
  note?: string;
  isOpen: boolean;
  labels: Labels;
}

export const CodeBlock = memo(function CodeBlock({ code, info, note, isOpen, labels }: Props) {
  const language = /^[\w+#.-]{1,30}/.exec(info.trim())?.[0]?.toLowerCase() ?? "";
  const [wraps, setWraps] = useState(false);
  const colours = useColours(code, language, isOpen);
  return (
    <div className={css.code}>
      <div className={css.codeHead}>
        <span>{note ?? (language === "mermaid" ? labels.mermaid : language)}</span>
        <button type="button" aria-pressed={wraps} onClick={() => setWraps(!wraps)}>
          {labels.wrap}
        </button>
        <CopyCode code={code} labels={labels} />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keys. */}
      <pre dir="ltr" tabIndex={0} role="group" aria-label={labels.code} data-wraps={wraps || undefined}>
        <code>{colours ?? code}</code>
      </pre>
    </div>
  );
});
