//! Any bytes under any head.
use super::{Choices, Head, Limits, WIDE, is_terminal, pieces};
use serde_json::Value;

const STATUSES: &[u16] = &[200, 200, 200, 200, 201, 307, 400, 429, 502];
const TYPES: &[Option<&str>] = &[
    Some("text/event-stream;charset=UTF-8"),
    Some("text/event-stream"),
    Some("Text/Event-Stream ; x"),
    Some("application/json"),
    Some("text/html"),
    None,
];
/// With more lines than this the simple reading takes too long.
const LINES_MAX: usize = 64;

pub(super) fn run(choices: &mut Choices<'_>) {
    let incremental = choices.one_in(2);
    let head = Head { incremental, status: choices.pick(STATUSES), content_type: choices.pick(TYPES) };
    let limits = match choices.byte() {
        0..=191 => WIDE,
        bound => {
            let bound = usize::from(bound - 191);
            Limits { line_bytes: bound * 16, event_bytes: bound * 16, answer_bytes: bound }
        }
    };
    let most = choices.byte();
    let body = choices.rest();
    let whole = head.read(limits, [body]);
    let cut = head.read(limits, pieces(body, most));
    assert_eq!(cut, whole, "in pieces of up to {most}");
    if whole.end.outcome.is_ok() {
        assert!((200..300).contains(&head.status), "complete with status {}", head.status);
        assert_ne!(has_terminal_frame(body), Some(false), "complete without a terminal frame");
    }
}

/// Whether JSON in the body has a terminal finish reason; nothing where the simple reading cannot tell.
fn has_terminal_frame(body: &[u8]) -> Option<bool> {
    let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').map(payload).collect();
    if lines.len() > LINES_MAX {
        return None;
    }
    let mut doubt = false;
    // A body of JSON is one frame; in a stream a frame may be spread over lines.
    let starts = (0..lines.len()).map(|start| &lines[start..]).filter(|lines| is_object(lines[0]));
    for lines in starts {
        let mut text = Vec::new();
        for line in lines {
            text.extend_from_slice(line);
            text.push(b'\n');
            match serde_json::from_slice::<Value>(&text) {
                Ok(frame) if says_end(&frame) => return Some(true),
                Ok(_) => break,
                Err(error) if error.is_eof() => {}
                // Numbers, escapes and depths that the reader never looks at end the simple reading.
                Err(_) => {
                    doubt |= ["\"stop\"", "\"length\""].iter().any(|word| contains(body, word.as_bytes()));
                    break;
                }
            }
        }
    }
    (!doubt).then_some(false)
}

fn payload(line: &[u8]) -> &[u8] {
    let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
    let value = line.strip_prefix(b"data:").or_else(|| line.strip_prefix(b"error:"));
    value.unwrap_or(line)
}

fn is_object(line: &[u8]) -> bool {
    line.trim_ascii_start().first() == Some(&b'{')
}

fn says_end(frame: &Value) -> bool {
    let output = &frame["output"];
    let choices = output["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let reasons = choices.iter().map(|choice| &choice["finish_reason"]).chain([&output["finish_reason"]]);
    reasons.filter_map(Value::as_str).any(is_terminal)
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
