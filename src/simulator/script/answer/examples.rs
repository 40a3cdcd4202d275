//! Prewritten answers: to the page's example questions, and a showcase of all Markdown.

/// Everything that the page can render.
pub(crate) const SHOWCASE: &str = include_str!("examples/showcase.en.md");
/// The same in Chinese.
pub(crate) const SHOWCASE_ZH: &str = include_str!("examples/showcase.zh.md");

/// The page's example questions and their answers.
const EXAMPLES: [(&str, &str); 8] = [
    ("Explain the tides to a ten-year-old", include_str!("examples/tides.en.md")),
    ("用十岁孩子能懂的话解释潮汐", include_str!("examples/tides.zh.md")),
    ("Describe tidal power in three sentences", include_str!("examples/power.en.md")),
    ("用三句话介绍一下潮汐发电", include_str!("examples/power.zh.md")),
    ("Write a Rust function that reverses the words of a sentence", include_str!("examples/words.en.md")),
    ("写一个 Rust 函数，把句子里的单词倒序", include_str!("examples/words.zh.md")),
    ("Compare HTTP streaming and WebSocket in a table", include_str!("examples/streaming.en.md")),
    ("用表格比较 HTTP 流式传输和 WebSocket", include_str!("examples/streaming.zh.md")),
];

/// The answer to one of these questions, ignoring spaces, punctuation and case.
pub(super) fn answer(question: &str) -> Option<&'static str> {
    // Longer questions are not compared.
    const QUESTION_MAX: usize = 200;
    if question.len() > QUESTION_MAX {
        return None;
    }
    let wanted = letters(question);
    EXAMPLES.iter().find(|(known, _)| letters(known) == wanted).map(|(_, answer)| answer.trim_end())
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: [&str; 2] =
        [include_str!("../../../../web/src/i18n/en.ts"), include_str!("../../../../web/src/i18n/zh.ts")];

    fn proposals(dictionary: &str) -> Vec<&str> {
        let lines = dictionary.lines().map(str::trim).filter(|line| line.starts_with("example"));
        lines.filter_map(|line| line.split('"').nth(1)).collect()
    }

    #[test]
    fn every_question_that_the_page_proposes_has_an_answer_in_its_language() {
        for dictionary in PAGE {
            let questions = proposals(dictionary);
            assert_eq!(questions.len(), 4);
            for question in questions {
                let answer = answer(question).unwrap_or_else(|| panic!("no answer to {question:?}"));
                let chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
                let prose: String = answer.lines().filter(|line| !line.starts_with('|')).collect();
                assert_eq!(chinese(question), chinese(&prose), "{question:?}");
            }
        }
    }

    #[test]
    fn a_question_is_known_by_its_letters() {
        let wanted = answer("Explain the tides to a ten-year-old");
        assert!(wanted.is_some());
        assert_eq!(answer(" explain the Tides to a ten year old?\n"), wanted);
        assert_eq!(answer("用十岁孩子能懂的话，解释潮汐。"), answer("用十岁孩子能懂的话解释潮汐"));
        assert_eq!(answer("Explain the tides"), None);
        assert_eq!(answer(""), None);
        assert_eq!(answer(&"Explain the tides to a ten-year-old ".repeat(10)), None);
    }

    /// Elements of Markdown with a marker of each.
    const PARTS: [(&str, &str); 9] = [
        ("a table", "\n| "),
        ("an inline formula", " $"),
        ("a formula of its own", "\n$$\n"),
        ("a footnote", "\n[^"),
        ("a fold", "\n<details>\n<summary>"),
        ("a task", "\n- [x] "),
        ("an open task", "\n- [ ] "),
        ("code", "\n```rust\n"),
        ("a diagram", "\n```mermaid\n"),
    ];

    #[test]
    fn the_showcase_has_everything_and_so_have_the_examples_together() {
        let examples = |chinese: bool| -> String {
            EXAMPLES.iter().skip(usize::from(chinese)).step_by(2).map(|(_, answer)| *answer).collect()
        };
        for text in [SHOWCASE, SHOWCASE_ZH, &*examples(false), &*examples(true)] {
            for (what, mark) in PARTS {
                assert!(text.contains(mark) || text.contains(&mark.replace(' ', "")), "{what} is missing");
            }
        }
    }

    #[test]
    fn every_footnote_is_defined_and_every_fold_and_fence_closed() {
        let texts = EXAMPLES.iter().map(|(_, answer)| *answer);
        for text in texts.chain([SHOWCASE, SHOWCASE_ZH]) {
            for name in text.split("[^").skip(1).filter_map(|rest| rest.split(']').next()) {
                assert_eq!(text.matches(&format!("[^{name}]")).count(), 2, "[^{name}]");
                assert_eq!(text.matches(&format!("\n[^{name}]: ")).count(), 1, "[^{name}]:");
            }
            assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
            assert_eq!(text.matches("```").count() % 2, 0);
            assert_eq!(text.matches("$$").count() % 2, 0);
            let columns = |line: &str| line.matches('|').count();
            let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
            let widest = rows.iter().map(|row| columns(row)).max();
            assert!(rows.iter().all(|row| Some(columns(row)) == widest), "{rows:?}");
        }
    }
}
