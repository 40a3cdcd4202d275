/** An answer's text: plain until the renderer is there, so that nobody waits for it. */
import { lazy, Suspense, useMemo } from "react";
import { useText } from "../../i18n/use-text";
import css from "./message.module.css";

export const loadMarkdown = () => import("../../markdown/markdown");
const Markdown = lazy(async () => ({ default: (await loadMarkdown()).Markdown }));

export function AnswerText({ id, text, done }: { id: string; text: string; done: boolean }) {
  const { words } = useText();
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
    }),
    [words],
  );
  return (
    <Suspense
      fallback={
        <div className={css.plain} dir="auto" data-plain>
          {text}
        </div>
      }
    >
      <Markdown id={id} text={text} done={done} labels={labels} />
    </Suspense>
  );
}
