/** An answer's text: plain until the renderer is there, so that nobody waits for it. */
import { useEffect, useMemo, useState } from "react";
import { useText } from "../../i18n/use-text";
import css from "./message.module.css";

type Renderer = typeof import("../../markdown/markdown").Markdown;

let renderer: Renderer | null = null;

export async function loadMarkdown(): Promise<Renderer> {
  renderer = (await import("../../markdown/markdown")).Markdown;
  return renderer;
}

/** Not by `Suspense`: what that showed in place of it stays for a third of a second at least. */
function useRenderer(): Renderer | null {
  const [loaded, setLoaded] = useState<Renderer | null>(() => renderer);
  useEffect(() => {
    if (loaded) return;
    let isCurrent = true;
    loadMarkdown().then(
      (found) => isCurrent && setLoaded(() => found),
      // The source can be read as well; whoever loads a new version is told elsewhere.
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
