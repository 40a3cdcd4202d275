//! Properties: no split, no mode and no bytes make a difference that they should not make.
use super::*;
use crate::chat::{FinishReason, RunErrorKind};
use proptest::prelude::*;

/// How a generated frame spells its strings.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    Raw,
    Ascii,
}

fn quoted(text: &str, spelling: Spelling) -> String {
    let plain = serde_json::to_string(text).unwrap();
    match spelling {
        Spelling::Raw => plain,
        Spelling::Ascii => {
            let mut units = [0; 2];
            let escaped = |c: char| match c {
                ' '..='~' => c.to_string(),
                _ => c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
            };
            plain.chars().map(escaped).collect()
        }
    }
}

/// Where the keys stand, and of what kind the content is.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Usual,
    UsageFirst,
    Array,
    TwoParts,
    Text,
}

fn frame(shape: Shape, text: &str, spelling: Spelling, finish: &str, number: usize) -> String {
    let content = quoted(text, spelling);
    let usage = format!("{{\"input_tokens\":10,\"output_tokens\":{number}}}");
    let message = |content: String| {
        format!(
            "{{\"choices\":[{{\"message\":{{\"content\":{content},\"role\":\"assistant\"}},\"finish_reason\":\"{finish}\"}}]}}"
        )
    };
    let output = match shape {
        Shape::Usual | Shape::UsageFirst => message(content),
        Shape::Array => message(format!("[{{\"text\":{content}}}]")),
        Shape::TwoParts => {
            let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
            let [a, b] = [quoted(&text[..middle], spelling), quoted(&text[middle..], spelling)];
            message(format!("[{{\"text\":{a}}},{{\"image\":1}},{{\"text\":{b}}}]"))
        }
        Shape::Text => format!("{{\"finish_reason\":\"{finish}\",\"text\":{content}}}"),
    };
    let data = match shape {
        Shape::UsageFirst => format!("{{\"usage\":{usage},\"request_id\":\"r\",\"output\":{output}}}"),
        _ => format!("{{\"output\":{output},\"usage\":{usage},\"request_id\":\"r\"}}"),
    };
    format!("id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:{data}\n\n")
}

fn shape() -> impl Strategy<Value = Shape> {
    prop::sample::select(vec![
        Shape::Usual,
        Shape::Usual,
        Shape::UsageFirst,
        Shape::Array,
        Shape::TwoParts,
        Shape::Text,
    ])
}

fn spelling() -> impl Strategy<Value = Spelling> {
    prop::sample::select(vec![Spelling::Raw, Spelling::Raw, Spelling::Ascii])
}

/// Text that is hard on JSON: quotes, backslashes, controls, characters of all lengths.
fn piece() -> impl Strategy<Value = String> {
    let hard = prop::sample::select(vec![
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
        "a",
        "Hello ",
        "}]",
        "\\u",
        "\",\"role\":\"",
        "\\n",
    ]);
    prop_oneof![
        3 => prop::collection::vec(hard, 0..6).prop_map(|pieces| pieces.concat()),
        1 => ".{0,8}",
    ]
}

type Steps = Vec<(String, Shape, Spelling)>;

/// Mostly one shape and one spelling, as a server has; now and then they change in mid-stream.
fn steps() -> impl Strategy<Value = Steps> {
    let steady =
        (shape(), spelling(), prop::collection::vec(piece(), 1..12)).prop_map(|(shape, spelling, pieces)| {
            pieces.into_iter().map(|piece| (piece, shape, spelling)).collect()
        });
    let changing = prop::collection::vec((piece(), shape(), spelling()), 1..12);
    prop_oneof![2 => steady, 1 => changing]
}

/// The same answer as increments and as text so far.
fn streams(steps: &Steps) -> (String, String, String) {
    let (mut text, mut incremental, mut cumulative) = (String::new(), String::new(), String::new());
    for (number, (piece, shape, spelling)) in steps.iter().enumerate() {
        text.push_str(piece);
        let finish = if number + 1 == steps.len() { "stop" } else { "null" };
        incremental.push_str(&frame(*shape, piece, *spelling, finish, number));
        cumulative.push_str(&frame(*shape, &text, *spelling, finish, number));
    }
    (text, incremental, cumulative)
}

fn pieces_of<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// Bytes near the wire: its own words, cut and mixed.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        &b"data:"[..],
        b"\n",
        b"\n\n",
        b"\r\n",
        b"id:1\n",
        b"event:error\n",
        b":HTTP_STATUS/400\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"\\",
        b"\\ud83d",
        b":",
        b",",
        b"null",
        b"\"output\":",
        b"\"choices\":",
        b"\"message\":",
        b"\"content\":",
        b"\"text\":",
        b"\"finish_reason\":\"stop\"",
        b"\"code\":\"Throttling\"",
        b"[DONE]",
        b"\xe4\xbd",
        b"\xff",
        b"5",
        b"data:{\"output\":{\"text\":\"ab\"}}\n",
        b"data:{\"output\":{\"text\":\"abc\"}}\n",
        b"data:{\"output\":{\"finish_reason\":\"stop\"}}\n",
        b"data:{\"output\":{\"choices\":[{\"message\":{\"content\":\"x\"}}]}}\n",
    ]);
    prop_oneof![
        4 => prop::collection::vec(words, 0..40).prop_map(|words| words.concat()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn head() -> impl Strategy<Value = Head> {
    let content_type =
        prop::sample::select(vec![STREAM.content_type, STREAM.content_type, JSON.content_type, None]);
    (any::<bool>(), prop::sample::select(vec![200, 200, 200, 307, 400, 429, 502]), content_type)
        .prop_map(|(incremental, status, content_type)| Head { incremental, status, content_type, ..STREAM })
}

proptest! {
    // faults: E65, E77, E78
    #[test]
    fn cumulative_text_comes_out_as_increments(
        steps in steps(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let (text, incremental, cumulative) = streams(&steps);
        let plain = STREAM.read(LIMITS, [incremental.as_bytes()]);
        prop_assert_eq!(answer(&plain.0), text);
        prop_assert_eq!(&plain.1.outcome, &Ok(FinishReason::Stop));
        prop_assert_eq!(&CUMULATIVE.read(LIMITS, [cumulative.as_bytes()]), &plain);
        prop_assert_eq!(&CUMULATIVE.read(LIMITS, pieces_of(cumulative.as_bytes(), &cuts)), &plain);
        // Event by event both modes say the same.
        let [mut one, mut other] = [STREAM.reader(LIMITS), CUMULATIVE.reader(LIMITS)];
        for (increment, whole) in incremental.split_inclusive("\n\n").zip(cumulative.split_inclusive("\n\n")) {
            let [mut direct, mut compared] = [Vec::new(), Vec::new()];
            one.feed(increment.as_bytes(), &mut direct).unwrap();
            other.feed(whole.as_bytes(), &mut compared).unwrap();
            prop_assert_eq!(compared, direct);
        }
    }

    // faults: E78
    #[test]
    fn rewritten_text_is_never_guessed_at(steps in steps(), other in piece(), shape in shape(), spelling in spelling()) {
        let (text, _, cumulative) = streams(&steps);
        let body = cumulative.replace("\"finish_reason\":\"stop\"", "\"finish_reason\":\"null\"")
            + &frame(shape, &other, spelling, "stop", 99);
        let (events, end) = CUMULATIVE.read(LIMITS, [body.as_bytes()]);
        if other.is_empty() || other.starts_with(&text) {
            prop_assert!(end.outcome.is_ok());
            prop_assert_eq!(answer(&events), if other.is_empty() { text } else { other });
        } else {
            prop_assert_eq!(end.outcome.unwrap_err().kind, RunErrorKind::UpstreamProtocol);
            prop_assert_eq!(answer(&events), text);
        }
    }

    // faults: E65
    #[test]
    fn any_split_gives_the_same_events(
        body in noise(),
        head in head(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let whole = head.read(LIMITS, [body.as_slice()]);
        prop_assert_eq!(&head.read(LIMITS, pieces_of(&body, &cuts)), &whole);
        prop_assert_eq!(&head.read(LIMITS, body.chunks(1)), &whole);
    }

    // faults: E84
    #[test]
    fn an_answer_is_cut_at_its_limit_and_reported_as_cut(steps in steps(), bound in 0usize..40) {
        let (text, incremental, cumulative) = streams(&steps);
        let limits = Limits { answer_bytes: bound, ..LIMITS };
        for (head, body) in [(STREAM, &incremental), (CUMULATIVE, &cumulative)] {
            let (events, end) = head.read(limits, [body.as_bytes()]);
            prop_assert_eq!(answer(&events), &text[..text.floor_char_boundary(bound)]);
            let expected = if text.len() > bound { Err(RunErrorKind::AnswerTooLong) } else { Ok(FinishReason::Stop) };
            prop_assert_eq!(end.outcome.map_err(|error| error.kind), expected);
        }
    }

    // faults: E71, E84
    #[test]
    fn the_bounds_hold_for_any_bytes(body in noise(), head in head(), bound in 0usize..80) {
        let limits = Limits { line_bytes: bound, event_bytes: bound, answer_bytes: bound };
        let (events, _) = head.read(limits, body.chunks(5));
        prop_assert!(answer(&events).len() <= bound);
    }
}
