/** Above the composer: the chosen model is gone, or there is none yet. */
import { answering, goneModel } from "../../chat/choice";
import { useChat } from "../../chat/use-chat";
import { useText } from "../../i18n/use-text";
import css from "./composer.module.css";

export function ChoiceNote({ conversation }: { conversation: string }) {
  const { words, fill } = useText();
  const config = useChat((state) => state.config);
  const choice = useChat((state) => state.open[conversation]?.choice);
  const gone = choice && goneModel(choice, config);
  const model = choice && answering(choice, config);
  const text =
    config?.models.length === 0
      ? words.noModels
      : gone !== undefined && model
        ? fill(words.modelGone, { gone, model: model.title })
        : "";
  // Always there: a screen reader hears what comes into it.
  return (
    <div role="status" className={css.note}>
      {text !== "" && <p data-part="choice-note">{text}</p>}
    </div>
  );
}
