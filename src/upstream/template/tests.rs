//! Whatever the template reads, the parser of a dialect reads alike.
use super::*;
use crate::upstream::{dashscope::WireFrame, frame::Finish, json_string::unescape};
use proptest::prelude::*;

fn line(text: &str, counts: [&str; 2]) -> String {
    format!(
        "{{\"output\":{{\"choices\":[{{\"message\":{{\"content\":\"{text}\",\"role\":\"assistant\"}},\
         \"finish_reason\":\"null\",\"index\":0}}]}},\"usage\":{{\"total_tokens\":{},\"input_tokens\":7,\
         \"output_tokens\":{},\"model\":\"v2\"}},\"request_id\":\"r-1\"}}",
        counts[0], counts[1]
    )
}

fn learnt(from: &str) -> Template {
    let mut template = Template::default();
    let frame = WireFrame::parse(from.as_bytes()).unwrap();
    template.learn(from.as_bytes(), frame.sample(&frame.content().unwrap()));
    template
}

/// The parser reads whatever the template does not take, so only this tells that it works.
#[test]
fn a_frame_that_is_spelled_alike_is_not_parsed() {
    let mut template = learnt(&line("He", ["9", "2"]));
    for text in ["l", "lo, 你好", r#"a\n\"b\\"#, "longer than the first one"] {
        let next = line(text, ["12", "5"]);
        assert_eq!(template.read(next.as_bytes()).unwrap().text, text);
    }
    let usage = Usage { input_tokens: 7, output_tokens: 5, ..Usage::default() };
    assert_eq!(template.take_usage(), Some(usage));
    assert_eq!(template.take_usage(), None);
    let reasoning = line("", ["9", "2"]).replace("\"role\"", "\"reasoning_content\":\"hm\",\"role\"");
    let mut template = learnt(&reasoning);
    let next = reasoning.replace("hm", "so");
    let fit = Fit { kind: TextKind::Reasoning, text: "so", length: next.len() };
    assert_eq!(template.read(next.as_bytes()), Some(fit));
}

#[test]
fn answers_that_are_spelled_alike_share_a_shape_and_not_their_counts() {
    let (mut one, mut other) = (learnt(&line("He", ["9", "2"])), learnt(&line("你", ["1", "1"])));
    let shape = |template: &Template| template.shape.as_ref().map(Rc::as_ptr);
    assert_eq!(shape(&one), shape(&other));
    let next = |id: &str, counts| line("x", counts).replace("r-1", id);
    assert!(one.read(next("one", ["12", "5"]).as_bytes()).is_some());
    assert!(other.read(next("other", ["13", "6"]).as_bytes()).is_some());
    assert_eq!(one.usage().map(|usage| usage.output_tokens), Some(5));
    assert_eq!(other.usage().map(|usage| usage.output_tokens), Some(6));
    let reasoning = line("", ["9", "2"]).replace("\"role\"", "\"reasoning_content\":\"hm\",\"role\"");
    assert_ne!(shape(&one), shape(&learnt(&reasoning)));
    for number in 0..2 * SHARED_MAX {
        learnt(&line("x", ["9", "2"]).replace("v2", &format!("v-{number}")));
    }
    assert_eq!(SHAPES.with_borrow(Vec::len), SHARED_MAX);
    assert!(one.read(next("one", ["12", "5"]).as_bytes()).is_some(), "forgotten by the thread alone");
}

/// An event of DashScope's.
fn event(number: &str, line: &str) -> String {
    format!("id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:{line}\n\n")
}

/// A template that has learnt the form of such an event.
fn learnt_event(event: &str) -> Template {
    let line = event.lines().find_map(|line| line.strip_prefix("data:")).unwrap();
    let mut template = learnt(line.trim_start());
    template.learn_event(event.as_bytes());
    template
}

fn read_event(template: &mut Template, bytes: &str) -> Option<(String, usize)> {
    template
        .read_event(bytes.as_bytes(), 1000, |kind| kind == TextKind::Answer)
        .map(|fit| (fit.text.to_owned(), fit.length))
}

/// What is not taken so is read line by line, so only this tells that it works.
#[test]
fn an_event_that_is_spelled_alike_is_not_cut_into_lines() {
    let (first, next) = (event("9", &line("He", ["9", "2"])), event("10", &line("llo", ["12", "5"])));
    let usage = Usage { input_tokens: 7, output_tokens: 5, ..Usage::default() };
    // Whatever stands before the data, and whichever line ends: the envelope is learnt.
    let forms: [fn(&str) -> String; 4] = [
        str::to_owned,
        |event| event.replace('\n', "\r\n"),
        |event| event[event.find("data:").unwrap()..].replace("data:", "data: "),
        |event| event.replace("id:", ": note\nid: "),
    ];
    for form in forms {
        let mut template = learnt_event(&form(&first));
        let bytes = form(&next) + &form(&first);
        let length = form(&next).len();
        assert_eq!(read_event(&mut template, &bytes), Some(("llo".to_owned(), length)), "{bytes}");
        assert_eq!(template.usage(), Some(usage));
        assert_eq!(read_event(&mut template, &bytes[length..]), Some(("He".to_owned(), form(&first).len())));
    }
}

#[test]
fn an_event_that_may_say_something_else_is_read_line_by_line() {
    let first = event("9", &line("He", ["9", "2"]));
    let next = event("10", &line("llo", ["12", "5"]));
    for other in [
        next.replace("200", "429"),
        next.replace("result", "error"),
        next.replace("id:10\n", ""),
        next.replace("id:10", "id:x10"),
        next.replace("id:10", "id:"),
        next.replace("id:10", "id:123456789012345678901"),
        next.replace("id:", "id: "),
        next.replace("data:", "data: "),
        next.replace("data:", "data:\ndata:"),
        next.replace("llo", "ll\no"),
        next.replace("llo", ""),
        next.replace("}\n\n", "}\ndata:{}\n\n"),
        next.replace("}\n\n", "}\r\n\n"),
        next.replace("\n\n", "\n"),
        next.trim_end().to_owned(),
        next[..next.len() - 1].to_owned(),
        next[1..].to_owned(),
        format!("\n{next}"),
        String::new(),
    ] {
        assert_eq!(read_event(&mut learnt_event(&first), &other), None, "{other}");
    }
    let mut template = learnt_event(&first);
    assert!(template.read_event(next.as_bytes(), next.len() - 1, |_| true).is_none());
    assert!(template.read_event(next.as_bytes(), next.len(), |_| false).is_none());
    assert!(template.read_event(next.as_bytes(), next.len(), |_| true).is_some());
}

#[test]
fn only_an_event_of_one_line_of_data_is_learnt() {
    let event = event("9", &line("He", ["9", "2"]));
    for other in [
        format!("\u{feff}{event}"),
        event.replace("data:", "data:\ndata:"),
        event.replace("data:", "error:\ndata:"),
        event.replace("data:", "data\ndata:"),
        event.replace("event:", "\nevent:"),
        event.replace("}\n\n", "}\ndata:{}\n\n"),
        event.replace("}\n\n", "}\n"),
        event.replace("}\n\n", "}\n\n\n"),
        event.replace("He", ""),
        ": keep-alive\n\n".to_owned(),
    ] {
        let mut template = learnt(&line("He", ["9", "2"]));
        template.learn_event(other.as_bytes());
        assert!(template.envelope.is_none(), "{other}");
    }
}

#[test]
fn a_service_that_spells_each_envelope_anew_is_not_learnt_for_ever() {
    let event = |number: usize| event("9", &line("x", ["9", "2"])).replace("result", &number.to_string());
    let mut template = learnt_event(&event(0));
    for number in 1..usize::from(MISSES_MAX) {
        template.learn_event(event(number).as_bytes());
        template.learn_event(event(number).as_bytes()); // The same once more is no miss.
    }
    assert!(read_event(&mut template, &event(usize::from(MISSES_MAX) - 1)).is_some(), "which ends the row");
    for number in 0..2 * usize::from(MISSES_MAX) {
        template.learn_event(event(number).as_bytes());
    }
    assert!(read_event(&mut template, &event(2 * usize::from(MISSES_MAX) - 1)).is_none());
    assert!(ENVELOPES.with_borrow(Vec::len) <= SHARED_MAX);
}

#[test]
fn what_means_something_else_is_parsed() {
    let first = line("He", ["9", "2"]);
    for other in [
        line("", ["9", "2"]),
        line("a\u{1}b", ["9", "2"]),
        line("a\\", ["9", "2"]),
        line("x", ["09", "2"]),
        line("x", ["-9", "2"]),
        line("x", ["9.5", "2"]),
        line("x", ["1234567890", "2"]),
        line("x", ["9", "2"]).replace("\"index\":0", "\"index\":1"),
        line("x", ["9", "2"]).replace("null", "stop"),
        line("x", ["9", "2"]).replace("r-1", "r\\u002d2"),
        line("x", ["9", "2"]).replace("r-1", ""),
        line("x", ["9", "2"]).replace("\"r-1\"", "null"),
        line("x", ["9", "2"]).replace("v2", "v3"),
        line("x", ["9", "2"]) + " ",
        line("x", ["9", "2"]).trim_end_matches('}').to_owned(),
    ] {
        assert!(learnt(&first).read(other.as_bytes()).is_none(), "{other}");
    }
    let mut bytes = line("?", ["9", "2"]).into_bytes();
    let at = bytes.iter().position(|&byte| byte == b'?').unwrap();
    bytes[at] = 0xff;
    assert!(learnt(&first).read(&bytes).is_none());
    assert!(learnt(&line("x", ["9", "2"]).replace("null", "stop")).shape.is_none());
}

const FRAMES: [&str; 3] = [
    r#"{"output":{"text":null,"choices":[{"message":{"content":"TEXT","reasoning_content":""},"finish_reason":"null"}]},"usage":{"input_tokens":1,"output_tokens":COUNT,"output_tokens_details":{"reasoning_tokens":COUNT}},"request_id":"r"}"#,
    r#"{"usage": {"input_tokens": COUNT, "output_tokens": 3, "x": [1, COUNT]},"output":{"text":"TEXT","finish_reason":null}}"#,
    r#"{"output":{"choices":[{"index":0,"message":{"content":[{"text":"TEXT"}]}},{"index":1,"message":{"content":"no"}}]},"request_id":"COUNT"}"#,
];

proptest! {
    /// Whatever the template takes, the parser reads alike; broken and foreign lines included.
    #[test]
    fn agrees_with_the_parser(
        form in 0..FRAMES.len(),
        texts in prop::collection::vec(r#"([a-z你"{},]|\\["\\nux]|\\u00e9|\\ud83d){0,6}"#, 2),
        counts in prop::collection::vec("(0|[1-9][0-9]{0,20}|-1|1e3|0[1-9]|x)", 2),
        cut in 0..400usize,
    ) {
        let spell = |at: usize| FRAMES[form].replace("TEXT", &texts[at]).replace("COUNT", &counts[at]);
        let (first, second) = (spell(0), spell(1));
        let Ok(frame) = WireFrame::parse(first.as_bytes()) else { return Ok(()) };
        let Ok(content) = frame.content() else { return Ok(()) };
        let mut template = Template::default();
        template.learn(first.as_bytes(), frame.sample(&content));
        for line in [second.as_bytes(), first.as_bytes(), &second.as_bytes()[..cut.min(second.len())]] {
            let Some(Fit { kind, text: raw, .. }) = template.read(line) else { continue };
            let usage = template.take_usage();
            if unescape(raw, &mut String::new()).is_err() {
                continue; // It fails, as the parser's does.
            }
            let frame = WireFrame::parse(line).unwrap();
            let content = frame.content().unwrap();
            prop_assert_eq!((kind, content.answer.single()), (TextKind::Answer, Some(raw)));
            prop_assert!(content.reasoning.is_empty() && content.finish == Finish::NotYet && !content.has_tool_call);
            if usage.is_some() {
                prop_assert_eq!(usage, frame.usage());
            }
        }
    }
}
