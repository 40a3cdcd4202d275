//! Frames byte by byte, and the schedule on which they are written.
use super::*;
use crate::json;
use expect_test::expect;

#[test]
fn an_incremental_stream_is_spelled_as_by_the_service() {
    expect![[r#"
        id:1
        event:result
        :HTTP_STATUS/200
        data:{"output":{"choices":[{"message":{"content":"Hi","role":"assistant"},"finish_reason":"null"}]},"usage":{"total_tokens":10,"output_tokens":1,"input_tokens":9,"prompt_tokens_details":{"cached_tokens":0}},"request_id":"R"}

        id:2
        event:result
        :HTTP_STATUS/200
        data:{"output":{"choices":[{"message":{"content":" \"","role":"assistant"},"finish_reason":"null"}]},"usage":{"total_tokens":11,"output_tokens":2,"input_tokens":9,"prompt_tokens_details":{"cached_tokens":0}},"request_id":"R"}

        id:3
        event:result
        :HTTP_STATUS/200
        data:{"output":{"choices":[{"message":{"content":"you","role":"assistant"},"finish_reason":"null"}]},"usage":{"total_tokens":12,"output_tokens":3,"input_tokens":9,"prompt_tokens_details":{"cached_tokens":0}},"request_id":"R"}

        id:4
        event:result
        :HTTP_STATUS/200
        data:{"output":{"choices":[{"message":{"content":"","role":"assistant"},"finish_reason":"stop"}]},"usage":{"total_tokens":12,"output_tokens":3,"input_tokens":9,"prompt_tokens_details":{"cached_tokens":0}},"request_id":"R"}

    "#]]
    .assert_eq(&text(r#"/sim text="Hi \"you""#));
}

fn payloads(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines().filter(|line| line.starts_with("data:")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_cumulative_stream_repeats_the_whole_text_at_the_end() {
    let (bytes, _) = stream_of("qwen-plus", "/sim text=你好世界 no_usage", "{}", Endpoint::Text);
    expect![[r#"
        data:{"output":{"finish_reason":"null","text":"你好"},"request_id":"R"}
        data:{"output":{"finish_reason":"null","text":"你好世界"},"request_id":"R"}
        data:{"output":{"finish_reason":"stop","text":"你好世界"},"request_id":"R"}
    "#]]
    .assert_eq(&payloads(&bytes));
}

#[test]
fn reasoning_precedes_the_answer_and_is_counted() {
    let (bytes, _) = stream_of("sim-think", "/sim think=1 text=Yes tag=1", "{}", Endpoint::Text);
    expect![[r#"
        data:{"output":{"choices":[{"message":{"content":"","reasoning_content":"under ","role":"assistant"},"finish_reason":"null"}]},"usage":{"total_tokens":12,"output_tokens":1,"input_tokens":11,"prompt_tokens_details":{"cached_tokens":0},"output_tokens_details":{"reasoning_tokens":1}},"request_id":"R"}
        data:{"output":{"choices":[{"message":{"content":"Yes","reasoning_content":"","role":"assistant"},"finish_reason":"null"}]},"usage":{"total_tokens":13,"output_tokens":2,"input_tokens":11,"prompt_tokens_details":{"cached_tokens":0},"output_tokens_details":{"reasoning_tokens":1}},"request_id":"R"}
        data:{"output":{"choices":[{"message":{"content":"","reasoning_content":"","role":"assistant"},"finish_reason":"stop"}]},"usage":{"total_tokens":13,"output_tokens":2,"input_tokens":11,"prompt_tokens_details":{"cached_tokens":0},"output_tokens_details":{"reasoning_tokens":1}},"request_id":"R"}
    "#]]
    .assert_eq(&payloads(&bytes));
}

#[test]
fn the_multimodal_path_writes_lists() {
    let message = "/sim think=1 text=Yes no_usage";
    let (bytes, _) = stream_of("qwen3-vl-plus", message, INCREMENTAL, Endpoint::Multimodal);
    expect![[r#"
        data:{"output":{"choices":[{"message":{"content":[],"reasoning_content":"gate ","role":"assistant"},"finish_reason":"null"}]},"request_id":"R"}
        data:{"output":{"choices":[{"message":{"content":[{"text":"Yes"}],"role":"assistant"},"finish_reason":"null"}]},"request_id":"R"}
        data:{"output":{"choices":[{"message":{"content":[],"role":"assistant"},"finish_reason":"stop"}]},"request_id":"R"}
    "#]]
    .assert_eq(&payloads(&bytes));
}

#[test]
fn an_error_in_mid_stream_is_a_frame_and_the_end() {
    let (bytes, last) = stream("/sim text=ab error_after=1 no_usage");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    expect![[r#"
        id:2
        event:error
        :HTTP_STATUS/400
        data:{"code":"DataInspectionFailed","message":"Output data may contain inappropriate content.","request_id":"R"}

    "#]]
    .assert_eq(text.split_inclusive("\n\n").last().unwrap_or_default());
    assert_eq!(last, Step::End);
}

#[test]
fn any_split_leaves_the_bytes_as_they_are() {
    let message = "/sim tokens=30 alphabet=mixed number seed=1 no_usage";
    let whole = stream(message).0;
    for split in ["bytes=1", "bytes=7", "split_utf8", "split_utf8 bytes=5 byte_ms=2", "writes=3"] {
        assert!(stream(&format!("{message} {split}")).0 == whole, "{split}");
    }
    let plan = planned(&body("sim-chat", "/sim text=🌊 split_utf8", INCREMENTAL), Endpoint::Text, true)
        .expect("a plan");
    let split =
        play(plan).iter().any(|(_, step)| matches!(step, Step::Write(part) if part.last() == Some(&0xf0)));
    assert!(split, "a write ends inside the character");
}

#[test]
fn an_event_is_written_in_as_many_pieces_as_it_is_told() {
    let writes = |message: &str| {
        let plan = planned(&body("sim-chat", message, INCREMENTAL), Endpoint::Text, true).expect("a plan");
        play(plan).iter().filter(|(_, step)| matches!(step, Step::Write(_))).count()
    };
    for (switches, expected) in [("", 6), (" writes=1", 6), (" writes=2", 12), (" writes=3", 18)] {
        assert_eq!(writes(&format!("/sim tokens=5{switches}")), expected, "{switches}");
    }
}

#[test]
fn the_schedule_is_absolute_and_a_phase_moves_all_but_the_first() {
    let times = |message: &str| -> Vec<u128> {
        let plan = planned(&body("sim-chat", message, INCREMENTAL), Endpoint::Text, true).expect("a plan");
        play(plan).iter().map(|(at, _)| at.as_millis()).collect()
    };
    assert_eq!(times("/sim tokens=4 first_ms=100 pace_ms=20 phase=0"), [100, 120, 140, 160, 160, 160]);
    assert_eq!(times("/sim tokens=4 first_ms=100 pace_ms=20 phase=0.5"), [100, 110, 130, 150, 150, 150]);
    // A group is written when its last delta is due: the rate stays.
    assert_eq!(times("/sim tokens=4 pace_ms=20 phase=0 group=2")[..2], [20, 60]);
    assert_eq!(times("/sim tokens=1 first_ms=50 keepalive_ms=20")[..3], [20, 40, 50]);
}

#[test]
fn who_is_late_catches_up() {
    let message = "/sim tokens=100 pace_ms=10 phase=0";
    let plan = planned(&body("sim-chat", message, INCREMENTAL), Endpoint::Text, true).expect("a plan");
    let Head::Stream { mut player, .. } = plan.head else { panic!("no stream") };
    let late = Duration::from_millis(305);
    let mut written = 0;
    let wait = loop {
        match player.step(late, 0) {
            Step::Write(_) => written += 1,
            step => break step,
        }
    };
    assert_eq!((written, wait), (31, Step::Wait(Duration::from_millis(310))));
}

#[test]
fn stamps_and_numbers_begin_each_delta() {
    let text = text("/sim tokens=2 pace_ms=1 phase=0 stamp number no_usage");
    assert!(text.contains("\"content\":\"@1000000 #0 "), "{text}");
    assert!(text.contains("\"content\":\"@2000000 #1 "), "{text}");
}

proptest::proptest! {
    #[test]
    fn any_text_is_escaped_so_that_json_restores_it(text in "([ -~]|[\0-\u{1f}]|\"|\\\\|你|😀|\u{2028}|\u{7f}){0,20}") {
        let mut inner = Vec::new();
        json::push_escaped(&mut inner, &text);
        let quoted = format!("\"{}\"", std::str::from_utf8(&inner).expect("UTF-8"));
        proptest::prop_assert_eq!(serde_json::from_str::<String>(&quoted).expect("JSON"), text);
    }

    #[test]
    fn pieces_are_short_and_make_the_text(text in "([a-z]{1,20}| {1,12}|[你好吗]{1,6}|[.,!\n]){0,20}") {
        let ends = super::super::pieces::ends(&text);
        let starts = [0].into_iter().chain(ends.iter().copied());
        let pieces: Vec<&str> = starts.zip(&ends).map(|(from, to)| &text[from..*to]).collect();
        proptest::prop_assert_eq!(pieces.concat(), &*text);
        for piece in pieces {
            let word = piece.trim_start();
            let is_wide = word.starts_with(['你', '好', '吗']);
            proptest::prop_assert!(!piece.is_empty() && piece.chars().count() <= if is_wide { 3 } else { 9 }, "{piece:?}");
        }
    }
}
