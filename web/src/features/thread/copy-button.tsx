/** Copies a message and shows whether that worked. */
import { Check, Copy } from "lucide-react";
import { useEffect, useState } from "react";
import { copyText } from "../../components/copy";
import { useText } from "../../i18n/use-text";

const SHOWN_MS = 1_600;

export function CopyButton({ text, label }: { text: string; label?: string }) {
  const { words } = useText();
  const [done, setDone] = useState<boolean | null>(null);
  useEffect(() => {
    if (done === null) return;
    const timer = setTimeout(() => setDone(null), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [done]);
  return (
    <button
      type="button"
      className="icon"
      aria-label={label ?? words.copy}
      title={label ?? words.copy}
      onClick={async () => setDone(await copyText(text))}
    >
      {done ? <Check aria-hidden size={16} /> : <Copy aria-hidden size={16} />}
      <span role="status" className="offscreen">
        {done === null ? "" : done ? words.copied : words.copyFailed}
      </span>
    </button>
  );
}
