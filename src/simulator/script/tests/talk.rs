//! The conversation partner, and how texts become pieces.
use super::*;
use crate::simulator::script::{Turn, pieces, reply};
use proptest::prelude::*;

fn answer(messages: &[&str]) -> String {
    let turns: Vec<Turn> = messages
        .iter()
        .flat_map(|text| {
            [("user", *text), ("assistant", "…")]
                .map(|(role, text)| Turn { role: role.to_owned(), text: text.to_owned() })
        })
        .collect();
    reply(&turns[..turns.len() - 1], 1)
}

#[test]
fn it_remembers_the_conversation() {
    let messages = ["My name is Ada.", "Tell me about tides", "What did I say first?"];
    assert!(answer(&messages).contains("My name is Ada."));
    assert!(answer(&[messages[0], messages[1], "What is my name?"]).contains("**Ada**"));
    assert!(answer(&[messages[0], "What did I say before?"]).contains("My name is Ada."));
    assert!(answer(&[messages[0], messages[1], "How many messages did I write?"]).contains("3 messages"));
    assert!(answer(&[messages[0], messages[1]]).contains("You said before: \"My name is Ada.\""));
    assert!(answer(&["What is my name?"]).contains("not told"));
}

#[test]
fn it_answers_chinese_in_chinese() {
    assert!(answer(&["我叫小明", "我叫什么名字？"]).contains("小明"));
    assert!(answer(&["讲讲潮汐", "我第一句说了什么？"]).contains("讲讲潮汐"));
    assert!(answer(&["你好"]).starts_with("你好"));
    assert!(answer(&["讲讲潮汐"]).contains("## 关于"));
}

#[test]
fn it_writes_markdown_of_the_wanted_shape() {
    assert!(answer(&["Show me some code"]).contains("```rust"));
    assert!(answer(&["Compare them in a table"]).contains("| ---: |"));
    assert!(answer(&["Give me a list"]).contains("1. "));
}

#[test]
fn the_examples_of_the_page_are_answered_in_any_conversation() {
    let question = "Compare HTTP streaming and WebSocket in a table";
    assert!(answer(&[question]).contains("```mermaid"));
    assert_eq!(answer(&["My name is Ada.", question]), answer(&[question]));
    assert!(answer(&["用表格比较 HTTP 流式传输和 WebSocket"]).contains("```mermaid"));
    // It is remembered as any other.
    assert!(answer(&[question, "What did I say before?"]).contains(question));
}

#[test]
fn a_demo_shows_everything_in_either_language() {
    for message in ["/sim demo", "/sim demo=en pace_ms=1"] {
        assert!(reply_of("sim-chat", message).contains("Everything an answer can hold"), "{message}");
    }
    assert!(reply_of("sim-chat", "/sim demo=zh").contains("回答里能有的一切"));
    assert!(Script::parse("/sim demo=fr").is_err());
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    let turns = [Turn { role: "user".to_owned(), text: "Tell me about gates".to_owned() }];
    assert_eq!(reply(&turns, 5), reply(&turns, 5));
    assert!((0..20).any(|seed| reply(&turns, seed) != reply(&turns, 5)));
}

/// The contents of an incremental stream, joined.
fn reply_of(model: &str, message: &str) -> String {
    let (bytes, _) = stream_of(model, message, INCREMENTAL, Endpoint::Text);
    let text = String::from_utf8(bytes).expect("UTF-8");
    text.split("\"content\":\"").skip(1).filter_map(|rest| rest.split("\",\"role\"").next()).collect()
}

#[test]
fn echo_and_think_have_manners_of_their_own() {
    let echo = |text: &str| {
        let (bytes, _) = stream_of("sim-echo", text, INCREMENTAL, Endpoint::Text);
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.split("\"content\":\"")
            .skip(1)
            .filter_map(|rest| rest.split("\",\"role\"").next())
            .collect::<String>()
    };
    assert_eq!(echo("  a\u{2028}b 你好 "), "  a\u{2028}b 你好 ");
    let (bytes, _) = stream_of("sim-think", "hi", "{}", Endpoint::Text);
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (reasoning, content) = (text.find("\"reasoning_content\":\"The"), text.find("\"content\":\"Hello"));
    assert!(reasoning.is_some() && reasoning < content, "{text}");
}

#[test]
fn a_bare_sim_explains_itself() {
    assert!(reply_of("sim-chat", "/sim").contains("Switches of `/sim`"));
}

proptest! {
    #[test]
    fn pieces_joined_are_the_text(text in "\\PC{0,200}|[ a-z你好🌊\n]{0,100}") {
        let mut from = 0;
        for end in pieces::ends(&text) {
            prop_assert!(end > from && text.is_char_boundary(end));
            from = end;
        }
        prop_assert_eq!(from, text.len());
    }

    #[test]
    fn no_message_panics(rest in "([a-z_]{1,12}(=[0-9a-z:\"]{0,8})? ){0,6}") {
        let _ = Script::parse(&format!("/sim {rest}"));
    }
}
