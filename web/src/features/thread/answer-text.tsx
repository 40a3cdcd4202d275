/** An answer's text: plain until the renderer is loaded, so that the text is readable at once. */
import { useEffect, useMemo, useState } from "react";
import { useText } from "../../i18n/use-text";
import css from "./message.module.css";

type Renderer = typeof import("../../markdown/markdown").Markdown;

let renderer: Renderer | null = null;

export async function loadMarkdown(): Promise<Renderer> {
  renderer = (await import("../../markdown/markdown")).Markdown;
  return renderer;
}

/** Not by `Suspense`, whose fallback stays for at least a third of a second. */
function useRenderer(): Renderer | null {
  const [loaded, setLoaded] = useState<Renderer | null>(() => renderer);
  useEffect(() => {
    if (loaded) return;
    let isCurrent = true;
    loadMarkdown().then(
      (found) => isCurrent && setLoaded(() => found),
      // The plain text is readable too; a new version is announced elsewhere.
      () => undefined,
    );
    return () => {
      isCurrent = false;
    };
  }, [loaded]);
  return loaded;
}

export function AnswerText({ id, text, done }: { id: string; text: string; done: boolean }) {
  const { words } = useText();
  const Markdown = useRenderer();
  const labels = useMemo(
    () => ({
      copy: words.copyCode,
      copied: words.copied,
      copyFailed: words.copyFailed,
      image: words.image,
      wrap: words.wrap,
      code: words.code,
      table: words.table,
      done: words.taskDone,
      open: words.taskOpen,
      formula: words.formula,
      longFormula: words.longFormula,
      mermaid: words.mermaid,
      details: words.details,
      notes: words.footnotes,
      note: words.footnote,
      back: words.backToText,
    }),
    [words],
  );
  if (Markdown) return <Markdown id={id} text={text} done={done} labels={labels} />;
  return (
    <div className={css.plain} dir="auto" data-plain>
      {text}
    </div>
  );
}
