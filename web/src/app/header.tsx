/** The header of the conversation: title, model, connection, settings. */
import { Keyboard, PanelLeft, Settings, SquarePen } from "lucide-react";
import { OWN_NAME } from "../chat/operator";
import { useChat } from "../chat/use-chat";
import { ConnectionDot } from "../features/status/connection";
import { DemoNote } from "../features/status/notes";
import { useText } from "../i18n/use-text";
import css from "./app.module.css";

interface Props {
  conversation: string;
  isSideOpen: boolean;
  onSide: () => void;
  onNew: () => void;
  onSettings: () => void;
  onShortcuts: () => void;
}

export function Header({ conversation, isSideOpen, onSide, onNew, onSettings, onShortcuts }: Props) {
  const { words } = useText();
  const title = useChat((state) => state.open[conversation]?.title ?? "");
  const site = useChat((state) => state.operator.title) || OWN_NAME;
  // Several are in the composer, to choose from.
  const model = useChat(({ config }) => (config?.models.length === 1 ? config.models[0]?.title : undefined));
  return (
    <header className={css.header}>
      <button
        type="button"
        className="icon"
        aria-label={isSideOpen ? words.closeMenu : words.menu}
        aria-expanded={isSideOpen}
        onClick={onSide}
      >
        <PanelLeft aria-hidden size={18} />
      </button>
      {!isSideOpen && (
        <button type="button" className="icon" aria-label={words.newChat} onClick={onNew}>
          <SquarePen aria-hidden size={18} />
        </button>
      )}
      <h1 dir="auto">{title || site}</h1>
      <DemoNote />
      <span className={css.model}>
        <ConnectionDot />
        {model !== undefined && <span>{model}</span>}
      </span>
      <button
        type="button"
        className={`icon ${css.keys}`}
        aria-label={words.shortcuts}
        title={words.shortcuts}
        onClick={onShortcuts}
      >
        <Keyboard aria-hidden size={18} />
      </button>
      <button
        type="button"
        className="icon"
        aria-label={words.settings}
        title={words.settings}
        onClick={onSettings}
      >
        <Settings aria-hidden size={18} />
      </button>
    </header>
  );
}
