/** All keyboard shortcuts. */
import { useChat } from "../../chat/use-chat";
import { Dialog } from "../../components/dialog";
import { useText } from "../../i18n/use-text";
import css from "./settings.module.css";

const MOD = /Mac|iPhone|iPad/.test(navigator.userAgent) ? "⌘" : "Ctrl";

export function ShortcutsDialog({ onClose }: { onClose: () => void }) {
  const { words } = useText();
  const sendsByEnter = useChat((state) => state.settings.sendKey === "enter");
  const keys: [string, string[]][] = [
    [words.keySend, sendsByEnter ? ["Enter"] : [MOD, "Enter"]],
    [words.keyLine, sendsByEnter ? ["Shift", "Enter"] : ["Enter"]],
    [words.keyStop, ["Esc"]],
    [words.keyEdit, ["↑"]],
    [words.keyNew, [MOD, "Shift", "O"]],
    [words.keySearch, [MOD, "K"]],
    [words.keySidebar, [MOD, "Shift", "S"]],
    [words.keyFocus, ["/"]],
    [words.keySheet, ["?"]],
  ];
  return (
    <Dialog title={words.shortcuts} closeLabel={words.close} onClose={onClose}>
      <dl className={css.keys}>
        {keys.map(([what, how]) => (
          <div key={what} style={{ display: "contents" }}>
            <dt>{what}</dt>
            <dd>
              {how.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
