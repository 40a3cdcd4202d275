/** Pasted or dropped files: the page shows that it does not accept them, and does not navigate to them. */
import { useEffect, useState } from "react";
import { useText } from "../../i18n/use-text";
import css from "./composer.module.css";

/** The notice disappears after this time. */
export const NOTE_MS = 10_000;

const hasFiles = (data: DataTransfer | null): boolean => data?.types.includes("Files") ?? false;
/** Office programs add an image to copied text: the text is what is meant. */
const hasText = (data: DataTransfer | null): boolean => data?.types.includes("text/plain") ?? false;

/** Calls `refuse` for each paste or drop of files, anywhere on the page. */
function useFiles(refuse: () => void): void {
  useEffect(() => {
    const onPaste = ({ clipboardData }: ClipboardEvent) => {
      if (hasFiles(clipboardData) && !hasText(clipboardData)) refuse();
    };
    // By default, the browser opens a dropped file in place of the page.
    const onDragOver = (event: DragEvent) => {
      if (hasFiles(event.dataTransfer)) event.preventDefault();
    };
    const onDrop = (event: DragEvent) => {
      if (!hasFiles(event.dataTransfer)) return;
      event.preventDefault();
      refuse();
    };
    window.addEventListener("paste", onPaste);
    window.addEventListener("dragover", onDragOver);
    window.addEventListener("drop", onDrop);
    return () => {
      window.removeEventListener("paste", onPaste);
      window.removeEventListener("dragover", onDragOver);
      window.removeEventListener("drop", onDrop);
    };
  }, [refuse]);
}

export function FilesNote() {
  const { words } = useText();
  const [refusals, setRefusals] = useState(0);
  const [refuse] = useState(() => () => setRefusals((count) => count + 1));
  useFiles(refuse);
  useEffect(() => {
    if (refusals === 0) return;
    const timer = setTimeout(() => setRefusals(0), NOTE_MS);
    return () => clearTimeout(timer);
  }, [refusals]);
  return (
    <div role="status" className={css.files}>
      {/* With a key, so that a second file is read out too. */}
      {refusals > 0 && <p key={refusals}>{words.noFiles}</p>}
    </div>
  );
}
