//! The conversation partner of `sim-chat`: small, friendly, deterministic for a seed.
use super::{Turn, source::mix};

mod examples;
mod text;

pub(super) use examples::{SHOWCASE, SHOWCASE_ZH};

/// Topic of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic {
    Greeting,
    Thanks,
    NameTold,
    NameAsked,
    FirstAsked,
    LastAsked,
    CountAsked,
    Code,
    Table,
    List,
    Plain,
}

/// Answers the last user message in Markdown, in Chinese if it contains Chinese, based on the earlier
/// messages and the seed only.
pub fn reply(turns: &[Turn], seed: u64) -> String {
    let users: Vec<&str> = turns.iter().filter(|turn| turn.role == "user").map(|turn| &*turn.text).collect();
    let question = users.last().copied().unwrap_or_default();
    if let Some(answer) = examples::answer(question) {
        return answer.to_owned();
    }
    let chinese = question.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
    let localized = |english: String, other: String| if chinese { other } else { english };
    let earlier = &users[..users.len().saturating_sub(1)];
    let name = users.iter().rev().find_map(|text| stated_name(text));
    let count = users.len();
    match topic(question) {
        Topic::Greeting => localized(
            format!("Hello{}! What shall we talk about?", comma(", ", name.as_deref())),
            format!("你好{}！我们聊点什么？", comma("，", name.as_deref())),
        ),
        Topic::Thanks => localized(
            "You are welcome. Ask me anything else.".to_owned(),
            "不客气，还有什么想问的吗？".to_owned(),
        ),
        Topic::NameTold => {
            let name = name.unwrap_or_default();
            localized(
                format!("Nice to meet you, **{name}**. I will remember it."),
                format!("很高兴认识你，**{name}**。我记住了。"),
            )
        }
        Topic::NameAsked => match name {
            Some(name) => localized(format!("Your name is **{name}**."), format!("你叫**{name}**。")),
            None => localized(
                "You have not told me your name yet.".to_owned(),
                "你还没有告诉我你的名字。".to_owned(),
            ),
        },
        Topic::FirstAsked => match earlier.first() {
            Some(first) => localized(
                format!("The first thing you said was: \"{}\"", cut(first)),
                format!("你说的第一句话是：“{}”", cut(first)),
            ),
            None => {
                localized("This is the first thing you said.".to_owned(), "这就是你说的第一句话。".to_owned())
            }
        },
        Topic::LastAsked => match earlier.last() {
            Some(last) => localized(
                format!("You said before: \"{}\"", cut(last)),
                format!("你之前说过：“{}”", cut(last)),
            ),
            None => localized(
                "You have said nothing before this.".to_owned(),
                "在这之前你什么也没说。".to_owned(),
            ),
        },
        Topic::CountAsked => localized(
            format!("You have sent {count} message{} so far.", if count == 1 { "" } else { "s" }),
            format!("到目前为止，你发了 {count} 条消息。"),
        ),
        topic => {
            let shape = match topic {
                Topic::Code => 0,
                Topic::Table => 1,
                Topic::List => 2,
                _ => mix(seed) % 4,
            };
            text::essay(question, earlier.last().copied(), count, shape, chinese, seed)
        }
    }
}

/// The reasoning that a reasoning model writes before its answer.
pub(super) fn reasoning(turns: &[Turn]) -> String {
    let users: Vec<&str> = turns.iter().filter(|turn| turn.role == "user").map(|turn| &*turn.text).collect();
    let question = users.last().copied().unwrap_or_default();
    format!(
        "The user writes: \"{}\". This is message {} of the conversation. First I look at what was said \
         before, then I choose a form for the answer, and then I write it down.",
        cut(question),
        users.len()
    )
}

fn comma(sign: &str, name: Option<&str>) -> String {
    name.map_or(String::new(), |name| format!("{sign}{name}"))
}

/// The beginning of a message, in one line.
fn cut(text: &str) -> String {
    const SHOWN: usize = 80;
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
    if text.chars().count() > SHOWN { format!("{line}…") } else { line }
}

/// The name that a message introduces.
fn stated_name(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let asks = text.contains(['?', '？', '吗', '么']);
    for opening in ["my name is ", "call me ", "我叫", "我的名字是", "叫我"] {
        // ASCII lower case preserves offsets.
        let Some(at) = lower.find(opening) else { continue };
        let rest = &text[at + opening.len()..];
        let name: String =
            rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '-').take(40).collect();
        if !name.is_empty() && !asks {
            return Some(name);
        }
    }
    None
}

fn topic(question: &str) -> Topic {
    let lower = question.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let word = |words: &[&str]| lower.split(|c: char| !c.is_alphanumeric()).any(|one| words.contains(&one));
    let speaks = has(&["say", "said", "ask", "wrote", "message", "question", "说", "问"]);
    if stated_name(question).is_some() {
        Topic::NameTold
    } else if has(&["my name", "who am i", "我叫什么", "我的名字", "我是谁"]) {
        Topic::NameAsked
    } else if speaks && has(&["first", "第一"]) {
        Topic::FirstAsked
    } else if has(&["how many", "几条", "多少条", "几句", "多少个", "几个问题"]) && speaks | has(&["消息"])
    {
        Topic::CountAsked
    } else if speaks && has(&["before", "last ", "previous", "earlier", "just now", "刚才", "之前", "上一"])
    {
        Topic::LastAsked
    } else if word(&["thanks", "thank"]) || has(&["谢谢"]) {
        Topic::Thanks
    } else if has(&["code", "function", "program", "代码", "程序", "函数"]) {
        Topic::Code
    } else if has(&["table", "compare", "表格", "比较"]) {
        Topic::Table
    } else if has(&["list", "steps", "列表", "步骤"]) {
        Topic::List
    } else if lower.chars().count() <= 20 && (word(&["hi", "hello", "hey"]) || has(&["你好", "您好"])) {
        Topic::Greeting
    } else {
        Topic::Plain
    }
}
