//! Streams that are written from choices, with a plain record of what they say.
use super::{Choices, Head, WIDE, pieces};
use std::fmt::Write;
use tidegate::chat::{FinishReason, RunErrorKind};

/// Text that is hard on JSON, on UTF-8 and on code that compares texts.
const WORDS: &[&str] = &[
    "Hello ",
    "a",
    "\"",
    "\\",
    "\\\"",
    "\n",
    "\t",
    "\0",
    "/",
    "é",
    "你",
    "😀",
    "\u{2028}",
    "\u{feff}",
    "}]",
    "\\u",
    "\\n",
    "\",\"role\":\"",
    "data:",
    "\r\n",
    "null",
    "stop",
    "\u{7f}",
    "",
];

/// How a stream spells what it says. Mostly one way from its beginning to its end.
#[derive(Clone, Copy)]
struct Spelling {
    /// Everything beyond ASCII as `\u`.
    ascii: bool,
    shape: Shape,
    usage_first: bool,
}

#[derive(Clone, Copy)]
enum Shape {
    Choice,
    Parts,
    TwoParts,
    Text,
}

/// How the last frame of the script ends the answer.
#[derive(Clone, Copy)]
enum Last {
    Stop,
    Length,
    Nothing,
    Tools,
    Filter,
    Unknown,
    Error,
}

/// A frame that is complete after this number of bytes, and what is known then.
struct Mark {
    bytes: usize,
    text: usize,
    thinking: usize,
    last: Option<Last>,
}

#[derive(Default)]
struct Stream {
    body: String,
    marks: Vec<Mark>,
    text: String,
    thinking: String,
}

pub(super) fn run(choices: &mut Choices<'_>) {
    let incremental = choices.one_in(2);
    let most = choices.byte();
    let cut = choices.one_in(2).then(|| choices.place(usize::from(u16::MAX)));
    let stream = write(choices, incremental);
    let length = cut.map_or(stream.body.len(), |cut| cut % (stream.body.len() + 1));
    let body = &stream.body.as_bytes()[..length];
    let head = Head { incremental, status: 200, content_type: Some("text/event-stream;charset=UTF-8") };
    let received = head.read(WIDE, pieces(body, most));
    assert_eq!(received, head.read(WIDE, [body]), "in pieces of up to {most}");

    let there = stream.marks.iter().take_while(|mark| mark.bytes <= length).last();
    let (text, thinking) = there.map_or((0, 0), |mark| (mark.text, mark.thinking));
    assert_eq!(received.text, stream.text[..text]);
    assert_eq!(received.thinking, stream.thinking[..thinking]);
    let kind = match there.and_then(|mark| mark.last) {
        Some(Last::Stop) => return assert_eq!(received.end.outcome, Ok(FinishReason::Stop)),
        Some(Last::Length) => return assert_eq!(received.end.outcome, Ok(FinishReason::Length)),
        Some(Last::Tools) => RunErrorKind::ToolsNotSupported,
        Some(Last::Filter) => RunErrorKind::OutputRefused,
        Some(Last::Unknown) => RunErrorKind::UpstreamProtocol,
        Some(Last::Error) => RunErrorKind::RateLimited,
        // A cut may leave an error without its words; it stays an error.
        Some(Last::Nothing) | None => {
            let kind = received.end.outcome.map_err(|error| error.kind);
            return assert!(kind.is_err(), "a cut answer is shown as complete");
        }
    };
    assert_eq!(received.end.outcome.map_err(|error| error.kind), Err(kind));
}

fn write(choices: &mut Choices<'_>, incremental: bool) -> Stream {
    let mut spelling = spelling(choices);
    let line_end = choices.pick(&["\n", "\n", "\r\n"]);
    let (has_id, has_blank) = (!choices.one_in(4), !choices.one_in(8));
    let colon = choices.pick(&[":", ":", ": "]);
    let last = choices.pick(&[
        Last::Stop,
        Last::Stop,
        Last::Length,
        Last::Nothing,
        Last::Tools,
        Last::Filter,
        Last::Unknown,
        Last::Error,
    ]);
    let frames = 1 + choices.below(12);
    let mut stream = Stream::default();
    for number in 1..=frames {
        if choices.one_in(16) {
            spelling = self::spelling(choices);
        }
        let is_last = number == frames;
        let last = is_last.then_some(last);
        let before = (stream.text.len(), stream.thinking.len());
        if choices.one_in(4) {
            words(choices, &mut stream.thinking);
        } else {
            words(choices, &mut stream.text);
        }
        let from = if incremental { before } else { (0, 0) };
        let data = frame(&stream.text[from.0..], &stream.thinking[from.1..], spelling, last, number);
        if has_id || !has_blank {
            let _ = write!(stream.body, "id{colon}{number}{line_end}");
        }
        let is_error = matches!(last, Some(Last::Error));
        let (event, status) = if is_error { ("error", 429) } else { ("result", 200) };
        let _ = write!(stream.body, "event{colon}{event}{line_end}:HTTP_STATUS/{status}{line_end}");
        let _ = write!(stream.body, "data{colon}{data}");
        let bytes = stream.body.len();
        stream.body.push_str(line_end);
        if has_blank {
            stream.body.push_str(line_end);
        }
        if matches!(last, Some(Last::Filter | Last::Unknown | Last::Error)) {
            // Its text may be that of an error, so it is not shown.
            stream.text.truncate(before.0);
            stream.thinking.truncate(before.1);
        }
        stream.marks.push(Mark { bytes, text: stream.text.len(), thinking: stream.thinking.len(), last });
    }
    if choices.one_in(4) {
        let _ = write!(stream.body, "data:{{\"usage\":{{\"input_tokens\":1}}}}\n\ndata:[DONE]\n\n");
    }
    stream
}

fn spelling(choices: &mut Choices<'_>) -> Spelling {
    let shape = choices.pick(&[Shape::Choice, Shape::Choice, Shape::Parts, Shape::TwoParts, Shape::Text]);
    Spelling { ascii: choices.one_in(3), shape, usage_first: choices.one_in(4) }
}

fn words(choices: &mut Choices<'_>, into: &mut String) {
    for _ in 0..choices.below(5) {
        into.push_str(choices.pick(WORDS));
    }
}

/// One event's JSON.
fn frame(text: &str, thinking: &str, spelling: Spelling, last: Option<Last>, number: usize) -> String {
    let finish = match last {
        None | Some(Last::Nothing) => "null",
        Some(Last::Stop) => "stop",
        Some(Last::Length) => "length",
        Some(Last::Tools) => "tool_calls",
        Some(Last::Filter) => "content_filter",
        Some(Last::Unknown) => "ended",
        Some(Last::Error) => {
            return "{\"code\":\"Throttling\",\"message\":\"m\",\"request_id\":\"r\"}".to_owned();
        }
    };
    let content = match spelling.shape {
        Shape::Choice | Shape::Text => quoted(text, spelling),
        Shape::Parts => format!("[{{\"text\":{}}}]", quoted(text, spelling)),
        Shape::TwoParts => {
            let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
            let [a, b] = [quoted(&text[..middle], spelling), quoted(&text[middle..], spelling)];
            format!("[{{\"text\":{a}}},{{\"image\":1}},{{\"text\":{b}}}]")
        }
    };
    let output = match spelling.shape {
        // The plain shape has no place for thinking.
        Shape::Text if thinking.is_empty() => {
            format!("{{\"finish_reason\":\"{finish}\",\"text\":{content}}}")
        }
        _ => format!(
            "{{\"choices\":[{{\"message\":{{\"content\":{content},\"reasoning_content\":{},\"role\":\"assistant\"}},\
             \"finish_reason\":\"{finish}\"}}]}}",
            quoted(thinking, spelling)
        ),
    };
    let usage = format!("{{\"input_tokens\":9,\"output_tokens\":{number}}}");
    if spelling.usage_first {
        format!("{{\"usage\":{usage},\"request_id\":\"r\",\"output\":{output}}}")
    } else {
        format!("{{\"output\":{output},\"usage\":{usage},\"request_id\":\"r\"}}")
    }
}

fn quoted(text: &str, spelling: Spelling) -> String {
    let plain = serde_json::to_string(text).unwrap_or_default();
    if !spelling.ascii {
        return plain;
    }
    let mut out = String::new();
    for c in plain.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}
