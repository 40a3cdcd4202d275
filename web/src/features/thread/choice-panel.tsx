/** The models on offer, and what may be set for the one that answers. Loaded when it is first opened. */
import { Check } from "lucide-react";
import { useEffect, useId, useRef, useState } from "react";
import { answering, type Choice, type OfferedModel } from "../../chat/choice";
import { useText } from "../../i18n/use-text";
import css from "./choice-panel.module.css";

const ON_TOUCH = window.matchMedia?.("(hover: none)") ?? { matches: false };

/** From this number on there is a field to find one. */
const MANY = 8;

interface Props {
  models: OfferedModel[];
  choice: Choice;
  onChoice: (choice: Choice) => void;
  /** It was drawn: its size is known. */
  onShown: () => void;
  onDone: () => void;
}

interface SliderProps {
  label: string;
  hint: string;
  range: { min: number; max: number };
  step: number;
  value: number | undefined;
  onChange: (value: number | undefined) => void;
}

/** A value of a range, or none. */
function Slider({ label, hint, range, step, value, onChange }: SliderProps) {
  const { words, number } = useText();
  const id = useId();
  return (
    <div className={css.setting}>
      <label htmlFor={id}>{label}</label>
      <output htmlFor={id}>{value === undefined ? words.automatic : number(value, 2)}</output>
      {value !== undefined && (
        <button type="button" className="link" onClick={() => onChange(undefined)}>
          {words.automatic}
        </button>
      )}
      <input
        id={id}
        type="range"
        min={range.min}
        max={range.max}
        step={step}
        value={value ?? (range.min + range.max) / 2}
        aria-valuetext={value === undefined ? words.automatic : undefined}
        aria-describedby={`${id}-hint`}
        data-unset={value === undefined || undefined}
        onChange={(event) => onChange(Number(event.target.value))}
      />
      <p id={`${id}-hint`}>{hint}</p>
    </div>
  );
}

function MaxTokens({ max, value, onChange }: { max: number } & Pick<SliderProps, "value" | "onChange">) {
  const { words, fill } = useText();
  const id = useId();
  return (
    <div className={css.setting}>
      <label htmlFor={id}>{words.maxTokens}</label>
      <input
        id={id}
        type="number"
        inputMode="numeric"
        min={1}
        max={max}
        step={1}
        placeholder={words.automatic}
        value={value ?? ""}
        aria-describedby={`${id}-hint`}
        onChange={({ target }) => {
          const count = Math.min(max, Math.floor(target.valueAsNumber));
          onChange(count >= 1 ? count : undefined);
        }}
      />
      <p id={`${id}-hint`}>{fill(words.maxTokensHint, { max })}</p>
    </div>
  );
}

function Thinking({ value, onChange }: { value: boolean | undefined; onChange: (value?: boolean) => void }) {
  const { words } = useText();
  const name = useId();
  const choices = [
    [undefined, words.automatic],
    [true, words.on],
    [false, words.off],
  ] as const;
  return (
    <fieldset className={css.thinking}>
      <legend>{words.thinking}</legend>
      {choices.map(([choice, label]) => (
        <label key={label}>
          <input type="radio" name={name} checked={choice === value} onChange={() => onChange(choice)} />
          <span>{label}</span>
        </label>
      ))}
    </fieldset>
  );
}

export function ChoicePanel({ models, choice, onChoice, onShown, onDone }: Props) {
  const { words } = useText();
  const [query, setQuery] = useState("");
  const panel = useRef<HTMLDivElement>(null);
  const name = useId();
  const model = answering(choice, { models });
  // biome-ignore lint/correctness/useExhaustiveDependencies: once, when it was drawn.
  useEffect(() => {
    onShown();
    const chosen = panel.current?.querySelector<HTMLElement>(":checked");
    chosen?.scrollIntoView({ block: "nearest" });
    // On a phone, focusing a field would open the keyboard over the list.
    const field = ON_TOUCH.matches ? null : panel.current?.querySelector<HTMLElement>("[type=search]");
    (field ?? chosen ?? panel.current?.querySelector("input"))?.focus({ preventScroll: true });
  }, []);
  const set = (change: Partial<Record<keyof Choice, unknown>>) => {
    const next = { ...choice, ...change } as Record<string, unknown>;
    for (const key of Object.keys(next)) if (next[key] === undefined) delete next[key];
    onChoice(next as Choice);
  };
  const wanted = query.trim().toLowerCase();
  const found = models.filter(({ id, title }) => `${id}\n${title}`.toLowerCase().includes(wanted));
  return (
    <div ref={panel} className={css.all}>
      {models.length > 1 && (
        <fieldset className={css.models}>
          <legend>{words.model}</legend>
          {models.length >= MANY && (
            <input
              type="search"
              aria-label={words.findModel}
              placeholder={words.findModel}
              value={query}
              onChange={(event) => setQuery(event.target.value)}
            />
          )}
          {found.map(({ id, title, isDown }) => (
            <label key={id} title={title === id ? undefined : id}>
              <input
                type="radio"
                name={name}
                checked={id === model?.id}
                onChange={() => set({ model: id })}
                // A click chooses and is done; the arrow keys pass by.
                onClick={(event) => event.detail > 0 && onDone()}
                onKeyDown={(event) => {
                  if (event.key !== "Enter") return;
                  event.preventDefault();
                  onDone();
                }}
              />
              <span dir="auto">{title}</span>
              {isDown && <small>{words.modelDown}</small>}
              <Check aria-hidden size={16} />
            </label>
          ))}
          {found.length === 0 && <p role="status">{words.nothingFound}</p>}
        </fieldset>
      )}
      {model?.thinking && <Thinking value={choice.thinking} onChange={(thinking) => set({ thinking })} />}
      {model?.temperature && (
        <Slider
          label={words.temperature}
          hint={words.temperatureHint}
          range={model.temperature}
          step={0.01}
          value={choice.temperature}
          onChange={(temperature) => set({ temperature })}
        />
      )}
      {model?.topP && (
        <Slider
          label={words.topP}
          hint={words.topPHint}
          range={{ min: Math.max(0.01, model.topP.min), max: model.topP.max }}
          step={0.01}
          value={choice.topP}
          onChange={(topP) => set({ topP })}
        />
      )}
      {model?.maxTokens && (
        <MaxTokens
          max={model.maxTokens.max}
          value={choice.maxTokens}
          onChange={(maxTokens) => set({ maxTokens })}
        />
      )}
    </div>
  );
}
