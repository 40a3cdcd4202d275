/** Shown before the first message: suggestions. */
import { useActions } from "../../chat/use-chat";
import { useText } from "../../i18n/use-text";
import css from "./thread.module.css";

export function Empty({ conversation }: { conversation: string }) {
  const { words } = useText();
  const actions = useActions();
  const examples = [words.example1, words.example2, words.example3, words.example4];
  return (
    <section className={css.empty}>
      <h2>{words.greeting}</h2>
      <p>{words.greetingHint}</p>
      <div className={css.examples}>
        {examples.map((example) => (
          <button key={example} type="button" dir="auto" onClick={() => actions.send(conversation, example)}>
            {example}
          </button>
        ))}
      </div>
    </section>
  );
}
