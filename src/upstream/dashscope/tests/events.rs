//! Events that are read without being cut into lines say what their lines say.
use super::*;
use crate::chat::RunErrorKind;
use proptest::prelude::*;

/// What stands before the data, with NUMBER for the event's. The first ones are those of services that answer.
const HEADS: [&str; 16] = [
    "id:NUMBER\nevent:result\n:HTTP_STATUS/200\n",
    "",
    "event: message\nid: NUMBER\n",
    ": ping\nretry:5\n",
    "id:NUMBER\nevent:result\n:HTTP_STATUS/202\n",
    "id:NUMBER",
    "id:xNUMBER\nevent:result\n:HTTP_STATUS/200\n",
    "id\nevent:result\n:HTTP_STATUS/200\n",
    ":HTTP_STATUS/429\n",
    "id:NUMBER\nevent:error\n:HTTP_STATUS/200\n",
    "data:\n",
    "data:{\"output\":{\"text\":\"first\"}}\n",
    "data:text\n",
    "id:NUMBER\n\nevent:result\n",
    "other:NUMBER\n",
    "\u{feff}",
];
const USUAL_HEADS: usize = 4;

/// Frames with TEXT and COUNT, usual ones first.
const FRAMES: [&str; 14] = [
    r#"{"output":{"choices":[{"message":{"content":"TEXT","role":"assistant"},"finish_reason":"null"}]},"usage":{"total_tokens":COUNT,"input_tokens":7,"output_tokens":COUNT},"request_id":"4c1b05a2-5d0f"}"#,
    r#"{"output":{"choices":[{"message":{"content":"TEXT","reasoning_content":""}}]},"usage":{"output_tokens":COUNT}}"#,
    r#"{"usage":{"input_tokens":3},"output":{"text":"TEXT","finish_reason":null},"request_id":"rCOUNT"}"#,
    r#"{"output":{"choices":[{"message":{"content":"","reasoning_content":"TEXT"},"finish_reason":"null"}]},"usage":{"output_tokens":COUNT}}"#,
    r#"{"output":{"choices":[{"message":{"content":[{"text":"TEXT"}]},"finish_reason":"null"}]}}"#,
    r#"{"output":{"choices":[{"message":{"content":"TEXT","role":"assistant"},"finish_reason":"null"}]},"usage":{"total_tokens":COUNT,"input_tokens":7,"output_tokens":COUNT},"request_id":"9"} "#,
    r#"{"output":{"choices":[{"message":{"content":"TEXT","role":"assistant"},"finish_reason":"stop"}]},"usage":{"total_tokens":COUNT,"input_tokens":7,"output_tokens":COUNT},"request_id":"4c1b05a2-5d0f"}"#,
    r#"{"output":{"choices":[{"message":{"content":"","role":"assistant"},"finish_reason":"null"}]},"usage":{"total_tokens":COUNT,"input_tokens":7,"output_tokens":COUNT},"request_id":"4c1b05a2-5d0f"}"#,
    r#"{"output":{"choices":[{"message":{"content":"TEXT","role":"assistant"},"finish_reason":"null"}]},"usage":{"total_tokens":COUNT,"input_tokens":7,"output_tokens":-1},"request_id":"4c1b05a2\n5d0f"}"#,
    r#"{"output":{"choices":[{"message":{"content":"TEXT","role":"assistant"},"finish_reason":"null"}]},"usage":{"total_tokens":COUNT"#,
    r#"{"code":"Throttling","message":"TEXT"}"#,
    r#"[DONE]"#,
    r#"TEXT"#,
    "{\"output\":{\"choices\":[{\"message\":{\"content\":\"TEXT\n\",\"role\":\"assistant\"},\"finish_reason\":\"null\"}]}}",
];
const USUAL_FRAMES: usize = 5;

/// Insides of strings, and some that are none.
const TEXTS: [&[u8]; 20] = [
    b" of",
    b"Hello ",
    "你好".as_bytes(),
    "a longer text, of more than a word: 你好".as_bytes(),
    br"s\n\n\qof",
    br#"\"of\""#,
    br"\u4f60\ud83d\ude00",
    br"\\",
    b"x",
    b"xy",
    b"xyz",
    b"",
    b"\",\"role\":\"",
    br"\ud83d",
    br"1234567\",
    b"a\x01b",
    b"\xe4\xbd",
    b"\xff",
    b"{}",
    b"\t",
];

const DATA: [&str; 4] = ["data:", "data: ", "data", "data:  "];
const ENDS: [&str; 3] = ["\n\n", "\n", "\n\n\n"];

/// Which of the forms an event has.
#[derive(Clone, Copy, Debug)]
struct Form {
    head: usize,
    data: usize,
    frame: usize,
    end: usize,
    crlf: bool,
}

fn usual() -> impl Strategy<Value = Form> {
    (0..USUAL_HEADS, 0..2_usize, 0..USUAL_FRAMES, prop::bool::weighted(0.2))
        .prop_map(|(head, data, frame, crlf)| Form { head, data, frame, end: 0, crlf })
}

/// What one event has that others have not.
#[derive(Clone, Copy, Debug)]
enum Change {
    None,
    Head(usize),
    Data(usize),
    Frame(usize),
    End(usize),
    Crlf(bool),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        20 => Just(Change::None),
        4 => (0..HEADS.len()).prop_map(Change::Head),
        1 => (0..DATA.len()).prop_map(Change::Data),
        2 => (0..FRAMES.len()).prop_map(Change::Frame),
        1 => (0..ENDS.len()).prop_map(Change::End),
        1 => any::<bool>().prop_map(Change::Crlf),
    ]
}

impl Form {
    fn with(self, change: Change) -> Form {
        match change {
            Change::None => self,
            Change::Head(head) => Form { head, ..self },
            Change::Data(data) => Form { data, ..self },
            Change::Frame(frame) => Form { frame, ..self },
            Change::End(end) => Form { end, ..self },
            Change::Crlf(crlf) => Form { crlf, ..self },
        }
    }

    fn event(self, number: usize, text: &[u8]) -> Vec<u8> {
        let spelled = |form: &str| {
            form.replace("NUMBER", &number.to_string()).replace("COUNT", &(7 * number).to_string())
        };
        let mut event = [spelled(HEADS[self.head]), DATA[self.data].to_owned()].concat().into_bytes();
        let frame = spelled(FRAMES[self.frame]);
        let mut parts = frame.split("TEXT");
        event.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
        for part in parts {
            event.extend_from_slice(text);
            event.extend_from_slice(part.as_bytes());
        }
        event.extend_from_slice(ENDS[self.end].as_bytes());
        if self.crlf {
            event = event
                .iter()
                .flat_map(|byte| if *byte == b'\n' { &b"\r\n"[..] } else { std::slice::from_ref(byte) })
                .copied()
                .collect();
        }
        event
    }
}

/// A body of events, most of them alike.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![4 => 0..11_usize, 1 => 0..TEXTS.len()];
    (usual(), 0..3_usize, prop::collection::vec((change(), text), 1..24)).prop_map(
        |(usual, lasting, events)| {
            let (mut form, mut lasting) = (usual, lasting);
            let events = events.into_iter().enumerate().flat_map(|(number, (change, text))| {
                let this = form.with(change);
                // The first changes last, the later ones are for one event.
                if !matches!(change, Change::None) && lasting > 0 {
                    (form, lasting) = (this, lasting - 1);
                }
                this.event(number + 1, TEXTS[text])
            });
            events.collect()
        },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    let bound = |usual: usize, bounds: std::ops::Range<usize>| prop_oneof![4 => Just(usual), 1 => bounds];
    (bound(LIMITS.line_bytes, 1..300), bound(LIMITS.event_bytes, 1..300), bound(LIMITS.answer_bytes, 0..60))
        .prop_map(|(line_bytes, event_bytes, answer_bytes)| Limits { line_bytes, event_bytes, answer_bytes })
}

/// A reader that has read events of nothing but data, and what it makes of these chunks.
fn after_data_alone(chunks: &[&str]) -> (String, Result<(), RunErrorKind>) {
    let data = Form { head: 1, data: 0, frame: 0, end: 0, crlf: false };
    let (mut reader, mut events) = (STREAM.reader(LIMITS), Vec::new());
    for number in 1..4 {
        reader.feed(&data.event(number, number.to_string().as_bytes()), &mut events).unwrap();
    }
    events.clear();
    let next = String::from_utf8(data.event(4, b"next")).unwrap();
    let chunks = chunks.iter().map(|chunk| chunk.replace("NEXT", &next));
    let read = chunks.into_iter().try_for_each(|chunk| reader.feed(chunk.as_bytes(), &mut events));
    (answer(&events), read.map_err(|error| error.kind))
}

#[test]
fn an_event_that_began_in_an_earlier_chunk_is_read_by_its_lines() {
    assert_eq!(after_data_alone(&["NEXTNEXT", "NEXT"]), ("next".repeat(3), Ok(())));
    assert_eq!(after_data_alone(&["\n", "NEXT"]), ("next".to_owned(), Ok(())));
    let refused = (String::new(), Err(RunErrorKind::UpstreamError));
    assert_eq!(after_data_alone(&["event:error\n", "NEXT"]), refused);
    assert_eq!(after_data_alone(&[":HTTP_STATUS/500\n", "NEXT"]), refused);
    assert_eq!(after_data_alone(&["id:5", "NEXT"]), (String::new(), Ok(())), "data of another field");
}

/// Where a body is cut: anywhere, or where data or an event begins.
fn chunks<'a>(body: &'a [u8], cuts: &[(bool, prop::sample::Index)]) -> Vec<&'a [u8]> {
    let begins = |at: &usize| body[*at..].starts_with(b"data") || body[..*at].ends_with(b"\n\n");
    let lines: Vec<usize> = (0..body.len()).filter(begins).collect();
    let place = |(anywhere, cut): &(bool, prop::sample::Index)| match *anywhere || lines.is_empty() {
        true => cut.index(body.len() + 1),
        false => lines[cut.index(lines.len())],
    };
    let mut at: Vec<usize> = cuts.iter().map(place).collect();
    at.extend([0, body.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    // faults: E65, E71, E84
    /// The same at every step, whatever the events and wherever they are cut.
    #[test]
    fn the_template_makes_no_difference(
        body in body(),
        limits in limits(),
        cuts in prop::collection::vec(any::<(bool, prop::sample::Index)>(), 0..8),
        incremental in prop::bool::weighted(0.9),
        expected in prop::bool::weighted(0.1),
    ) {
        let head = Head { incremental, ..STREAM };
        let mut fast = head.reader_after(expected, limits);
        let mut slow = head.reader_after(expected, limits);
        slow.frames_mut().without_template();
        for chunk in chunks(&body, &cuts) {
            let (mut read, mut parsed) = (Vec::new(), Vec::new());
            prop_assert_eq!(fast.feed(chunk, &mut read), slow.feed(chunk, &mut parsed));
            prop_assert_eq!(read, parsed);
            prop_assert_eq!(fast.usage(), slow.usage());
            prop_assert_eq!(fast.request_id(), slow.request_id());
            prop_assert_eq!((fast.finish(), fast.frames().shown()), (slow.finish(), slow.frames().shown()));
        }
        let (mut read, mut parsed) = (Vec::new(), Vec::new());
        prop_assert_eq!(fast.end(&mut read), slow.end(&mut parsed));
        prop_assert_eq!(read, parsed);
    }
}
