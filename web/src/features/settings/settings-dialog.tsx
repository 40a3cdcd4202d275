/** The settings, and the instructions of this conversation where the gateway accepts them. */
import { useState } from "react";
import type { Settings } from "../../chat/contract";
import { useActions, useChat } from "../../chat/use-chat";
import { Dialog } from "../../components/dialog";
import { useText } from "../../i18n/use-text";
import css from "./settings.module.css";

interface ChoiceProps<T extends string> {
  name: string;
  legend: string;
  value: T;
  choices: readonly [T, string][];
  onChange: (value: T) => void;
}

function Choice<T extends string>({ name, legend, value, choices, onChange }: ChoiceProps<T>) {
  return (
    <fieldset className={css.choice}>
      <legend>{legend}</legend>
      <div>
        {choices.map(([key, label]) => (
          <label key={key}>
            <input type="radio" name={name} checked={key === value} onChange={() => onChange(key)} />
            <span>{label}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}

function Instructions({ conversation }: { conversation: string }) {
  const { words } = useText();
  const actions = useActions();
  const kept = useChat((state) => state.open[conversation]?.system ?? "");
  const [text, setText] = useState(kept);
  return (
    <div className={css.choice}>
      <label htmlFor="instructions">{words.instructions}</label>
      <p>{words.instructionsHint}</p>
      <textarea
        id="instructions"
        rows={4}
        dir="auto"
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      <button
        type="button"
        className="strong"
        disabled={text === kept}
        onClick={() => actions.setSystem(conversation, text)}
      >
        {words.keep}
      </button>
    </div>
  );
}

export function SettingsDialog({ conversation, onClose }: { conversation: string; onClose: () => void }) {
  const { words } = useText();
  const actions = useActions();
  const settings = useChat((state) => state.settings);
  const models = useChat((state) => state.config?.models);
  const takesInstructions = useChat((state) => state.config?.features.clientSystemPrompt === true);
  const set = (change: Partial<Settings>) => actions.setSettings(change);
  return (
    <Dialog title={words.settings} closeLabel={words.close} onClose={onClose}>
      <Choice
        name="theme"
        legend={words.theme}
        value={settings.theme}
        choices={[
          ["system", words.themeSystem],
          ["light", words.themeLight],
          ["dark", words.themeDark],
        ]}
        onChange={(theme) => set({ theme })}
      />
      <Choice
        name="language"
        legend={words.language}
        value={settings.language}
        choices={[
          ["system", words.languageSystem],
          ["zh", "中文"],
          ["en", "English"],
        ]}
        onChange={(language) => set({ language })}
      />
      <Choice
        name="send-key"
        legend={words.sendKey}
        value={settings.sendKey}
        choices={[
          ["enter", words.sendEnter],
          ["mod-enter", words.sendModEnter],
        ]}
        onChange={(sendKey) => set({ sendKey })}
      />
      {models?.[0] && models.length === 1 && (
        <p className={css.model}>
          {words.model} <b>{models[0].title}</b>
        </p>
      )}
      {takesInstructions && <Instructions conversation={conversation} />}
    </Dialog>
  );
}
