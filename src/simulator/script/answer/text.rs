//! Longer Markdown answers: an opening, a body by shape, a closing line.
use super::{cut, mix};

const OPENINGS: [&str; 3] =
    ["Good question. Let us take it apart.", "Here is how I see it.", "Let me think about that with you."];
const OPENINGS_ZH: [&str; 3] = ["好问题，我们一步一步来看。", "我是这样看的。", "我们一起想一想。"];

const CODE: &str = include_str!("bodies/code.en.md");
const TABLE: &str = include_str!("bodies/table.en.md");
const LIST: &str = include_str!("bodies/list.en.md");
const PLAIN: &str = include_str!("bodies/plain.en.md");

const CODE_ZH: &str = include_str!("bodies/code.zh.md");
const TABLE_ZH: &str = include_str!("bodies/table.zh.md");
const LIST_ZH: &str = include_str!("bodies/list.zh.md");
const PLAIN_ZH: &str = include_str!("bodies/plain.zh.md");

/// A longer answer that quotes the question and an earlier message.
pub(super) fn essay(
    question: &str,
    before: Option<&str>,
    count: usize,
    shape: u64,
    chinese: bool,
    seed: u64,
) -> String {
    let pick = (mix(seed ^ 1) % 3) as usize;
    let shape = shape as usize;
    if chinese {
        let before = before.map_or(String::new(), |text| format!("你之前说过：“{}”\n\n", cut(text)));
        let body = [CODE_ZH, TABLE_ZH, LIST_ZH, PLAIN_ZH][shape].trim_end();
        return format!(
            "## 关于“{}”\n\n{}\n\n{before}{body}\n\n*第 {count} 轮，模拟回答*",
            cut(question),
            OPENINGS_ZH[pick]
        );
    }
    let before = before.map_or(String::new(), |text| format!("You said before: \"{}\"\n\n", cut(text)));
    let body = [CODE, TABLE, LIST, PLAIN][shape].trim_end();
    format!(
        "## About \"{}\"\n\n{}\n\n{before}{body}\n\n*Turn {count}, a simulated answer*",
        cut(question),
        OPENINGS[pick]
    )
}
