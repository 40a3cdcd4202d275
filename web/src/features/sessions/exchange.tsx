/** Export of conversations to a file, and import from one. */
import { Download, Upload } from "lucide-react";
import { useRef, useState } from "react";
import type { Imported } from "../../chat/contract";
import { useActions } from "../../chat/use-chat";
import { download } from "../../components/copy";
import { type Text, useText } from "../../i18n/use-text";
import css from "./sidebar.module.css";

/** Minimum time between two renders, because each one delays the import. */
const PROGRESS_MS = 50;

function sentence({ taken, skipped, problem }: Imported, { words, fill }: Text): string {
  if (problem === "storage") return fill(words.importStorage, { count: taken });
  if (problem) return words.importProblems[problem];
  const done = fill(words.imported, { count: taken });
  return skipped > 0 ? `${done} ${fill(words.importSkipped, { count: skipped })}` : done;
}

export function Exchange() {
  const text = useText();
  const { words, fill } = text;
  const actions = useActions();
  const file = useRef<HTMLInputElement>(null);
  const [resultText, setResultText] = useState("");
  const [progress, setProgress] = useState<{ done: number; of: number } | null>(null);
  const take = async (chosen: File | undefined) => {
    if (!chosen) return;
    setResultText("");
    setProgress({ done: 0, of: 0 });
    // Rendered before the file is read, which may take a while.
    await new Promise((done) => setTimeout(done, PROGRESS_MS));
    let drawn = 0;
    const result = await actions.importFile(chosen, (done, of) => {
      const now = performance.now();
      if (now - drawn < PROGRESS_MS) return;
      drawn = now;
      setProgress({ done, of });
    });
    setProgress(null);
    setResultText(sentence(result, text));
  };
  return (
    <div className={css.exchange}>
      <button
        type="button"
        className="quiet"
        onClick={async () => download("tidegate.json", "application/json", await actions.exportJson())}
      >
        <Download aria-hidden size={15} /> {words.exportAll}
      </button>
      <button
        type="button"
        className="quiet"
        title={words.importHint}
        disabled={progress !== null}
        onClick={() => file.current?.click()}
      >
        <Upload aria-hidden size={15} /> {words.importAll}
      </button>
      <input
        ref={file}
        type="file"
        accept="application/json,.json"
        hidden
        onChange={(event) => {
          void take(event.target.files?.[0]);
          event.target.value = "";
        }}
      />
      {progress && (
        <div className={css.progress}>
          <progress
            aria-label={words.importing}
            {...(progress.of > 0 ? { value: progress.done, max: progress.of } : {})}
          />
          <span aria-hidden>{progress.of > 0 ? fill(words.importedSoFar, progress) : words.importing}</span>
        </div>
      )}
      <p role="status" className={css.note}>
        {resultText}
      </p>
    </div>
  );
}
