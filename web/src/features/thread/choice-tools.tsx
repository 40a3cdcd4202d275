/** In the composer: the model that answers, and the switch for its thinking. What there is to choose is loaded when it is opened. */
import { Brain, ChevronDown } from "lucide-react";
import { useId, useRef, useState } from "react";
import { answering, type OfferedModel } from "../../chat/choice";
import { useActions, useChat } from "../../chat/use-chat";
import { useText } from "../../i18n/use-text";
import css from "./composer.module.css";

type Panel = typeof import("./choice-panel").ChoicePanel;

/** Whether anything but thinking may be set. */
const hasParameters = ({ temperature, topP, maxTokens }: OfferedModel): boolean =>
  temperature !== undefined || topP !== undefined || maxTokens !== undefined;

/** Above the button, within the window. */
function place(box: HTMLElement, button: HTMLElement): void {
  const anchor = button.getBoundingClientRect();
  const most = window.innerHeight - anchor.bottom > anchor.top ? window.innerHeight - 16 : anchor.top - 12;
  box.style.maxBlockSize = `${Math.max(160, most)}px`;
  box.style.insetBlockEnd = `${Math.max(8, window.innerHeight - anchor.top + 6)}px`;
  box.style.insetInlineStart = `${Math.max(8, Math.min(anchor.left, window.innerWidth - box.offsetWidth - 8))}px`;
}

export function ChoiceTools({ conversation }: { conversation: string }) {
  const { words, fill } = useText();
  const actions = useActions();
  const config = useChat((state) => state.config);
  const choice = useChat((state) => state.open[conversation]?.choice);
  const [isOpen, setIsOpen] = useState(false);
  const [Panel, setPanel] = useState<Panel | null>(null);
  const button = useRef<HTMLButtonElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const id = useId();
  const model = choice && answering(choice, config);
  if (!config || !choice || !model) return null;
  const hasPanel = config.models.length > 1 || hasParameters(model);
  if (!hasPanel && !model.thinking) return null;
  const isThinking = choice.thinking === true;
  const load = () => {
    if (!Panel) void import("./choice-panel").then((loaded) => setPanel(() => loaded.ChoicePanel));
  };
  return (
    <div className={css.tools}>
      {hasPanel && (
        <button
          ref={button}
          type="button"
          className={css.tool}
          aria-label={fill(words.chooseModel, { model: model.title })}
          aria-haspopup="dialog"
          aria-expanded={isOpen}
          popoverTarget={id}
          onPointerEnter={load}
          onFocus={load}
        >
          <span dir="auto">{model.title}</span>
          <ChevronDown aria-hidden size={14} />
        </button>
      )}
      {model.thinking && (
        <button
          type="button"
          className={css.tool}
          aria-pressed={isThinking}
          onClick={() => actions.setChoice(conversation, { ...choice, thinking: !isThinking })}
        >
          <Brain aria-hidden size={14} />
          {words.thinking}
        </button>
      )}
      {hasPanel && (
        <div
          ref={box}
          id={id}
          popover="auto"
          role="dialog"
          aria-label={words.model}
          className={css.panel}
          onToggle={(event) => {
            const isNowOpen = event.newState === "open";
            setIsOpen(isNowOpen);
            if (!isNowOpen || !box.current || !button.current) return;
            load();
            actions.renewOffer();
            place(box.current, button.current);
          }}
        >
          {isOpen && Panel && (
            <Panel
              models={config.models}
              choice={choice}
              onChoice={(next) => actions.setChoice(conversation, next)}
              onShown={() => box.current && button.current && place(box.current, button.current)}
              onDone={() => {
                box.current?.hidePopover();
                document.getElementById("composer")?.focus();
              }}
            />
          )}
        </div>
      )}
    </div>
  );
}
