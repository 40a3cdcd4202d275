//! The switches: how they are read, that each does something, that the document lists them.
use super::*;
use crate::simulator::script::{switches, table};

/// One message for each switch.
const EXAMPLES: &[&str] = &[
    "text=\"a b\"",
    "demo=zh",
    "tokens=3",
    "word_len=9",
    "alphabet=emoji",
    "think=2",
    "seed=7",
    "stamp",
    "number",
    "spell=vllm",
    "index",
    "tag=x",
    "pace_ms=20",
    "first_ms=1.5",
    "phase=0.25",
    "group=4",
    "writes=2",
    "nagle=on",
    "keepalive_ms=5",
    "times=2",
    "for_ms=500",
    "at=A,B",
    "error=loading",
    "runs=7",
    "late_ms=3",
    "carrier=c",
    "status=429",
    "code=Arrearage",
    "message=\"no\"",
    "retry_after=1",
    "retry_after_ms=10",
    "error_after=2",
    "break=abort",
    "html",
    "empty",
    "json_instead",
    "json_error",
    "wrong_type=text/plain",
    "no_type",
    "redirect",
    "early_hints=2",
    "headers=200",
    "header_bytes=3000",
    "bad_status_line",
    "no_head",
    "reset",
    "head_ms=10",
    "gzip",
    "bomb_mib=5",
    "close_idle_ms=700",
    "until_close",
    "short_length",
    "half_chunk",
    "bad_chunk",
    "cut_after=2",
    "cut_in_frame_after=2",
    "reset_after=2",
    "end_after=2",
    "end_without_finish",
    "end_in_frame_after=2",
    "stall_after=2",
    "garbage_after=2",
    "not_json_after=2",
    "wrong_types_after=2",
    "deep_after=2",
    "odd_choices_after=2",
    "invalid_utf8_after=2",
    "done_after=2",
    "payload_after=1:{}",
    "bytes_after=1:xx",
    "long_line=3000",
    "empty_every=2",
    "bytes=1",
    "byte_ms=1",
    "split_utf8",
    "crlf",
    "cr",
    "mixed_ends",
    "bom",
    "space_after_colon",
    "comments",
    "unknown_fields",
    "no_id",
    "no_blank_lines",
    "no_last_blank",
    "many_data_lines",
    "finish=length",
    "null_finish",
    "last_null",
    "no_usage",
    "empty_usage",
    "usage_after_finish",
    "text_after_finish",
    "two_finishes",
    "done_marker",
    "no_done",
    "no_request_id",
    "mode=cumulative",
    "cumulative_rewrite_after=2",
    "cumulative_shrink_after=2",
    "switch_mode_after=2",
];

#[test]
fn every_switch_has_an_example_that_changes_the_plan() {
    let names: Vec<&str> =
        EXAMPLES.iter().map(|example| example.split('=').next().unwrap_or_default()).collect();
    let known: Vec<&str> = switches().map(|switch| switch.name).collect();
    assert_eq!(names, known);
    let good = format!("{:?}", Script::parse("/sim tokens=5"));
    for example in EXAMPLES.iter().filter(|example| !example.starts_with("tag")) {
        let script =
            Script::parse(&format!("/sim {example}")).unwrap_or_else(|why| panic!("{example}: {why}"));
        assert_ne!(format!("{script:?}"), good, "{example}");
        let message = format!("/sim {example} tag=1");
        let plan = planned(&body("sim-chat", &message, INCREMENTAL), Endpoint::Text, true).expect(example);
        if matches!(plan.head, Head::Stream { .. }) {
            assert!(!play(plan).is_empty());
        }
    }
}

#[test]
fn the_document_lists_every_switch() {
    let document = include_str!("../../../../docs/SIMULATOR.md");
    assert!(document.contains(&table()), "docs/SIMULATOR.md must hold this table:\n{}", table());
}

#[test]
fn a_wrong_switch_is_named() {
    for (message, wanted) in [
        ("/sim tokns=3", r#"unknown switch "tokns", the nearest is "tokens""#),
        ("/sim stall=3", r#"unknown switch "stall", the nearest is"#),
        ("/sim tokens", "switch tokens: a value is missing"),
        ("/sim tokens=1000001", "switch tokens: \"1000001\" is not a whole number from 0 to 1000000"),
        ("/sim pace_ms=nan", "switch pace_ms: \"nan\" is not a number"),
        ("/sim text=\"open", "switch text: the closing quote is missing"),
        ("/sim carrier=e", "switch carrier: \"e\" is none of a, b, c, d"),
        ("/sim carrier=d", "switch carrier: d needs error_after"),
        ("/sim html=maybe", "switch html: \"maybe\" is neither 1 nor 0"),
        ("/sim tokens=1000000 word_len=1000", "switch tokens: the answer would be longer"),
    ] {
        let why = Script::parse(message).expect_err(message);
        assert!(why.starts_with(wanted), "{message}: {why}");
    }
    let many = format!("/sim {}", "tag=x ".repeat(65));
    assert!(Script::parse(&many).is_err());
}

#[test]
fn only_the_word_itself_steers() {
    assert!(Script::is_script("/sim") && Script::is_script("/sim\ttokens=1") && Script::is_script("/sim\n"));
    assert!(!Script::is_script("/simple") && !Script::is_script(" /sim") && !Script::is_script("sim"));
}

#[test]
fn quoted_values_may_contain_escapes() {
    let script = Script::parse(r#"/sim text="a\n\"b\" \u4f60 = c" tokens=2"#).expect("a script");
    assert_eq!((script.text.as_deref(), script.tokens), (Some("a\n\"b\" 你 = c"), Some(2)));
}

#[test]
fn streams_end_as_the_switch_says() {
    for (switches, end, frames) in [
        ("", Step::End, 6),
        ("cut_after=2", Step::Cut, 2),
        ("reset_after=2", Step::Reset, 2),
        ("end_after=2", Step::End, 2),
        ("end_without_finish", Step::End, 5),
        ("stall_after=2", Step::Hang, 2),
        ("cut_after=0", Step::Cut, 0),
        ("cut_after=900", Step::Cut, 5),
        ("error_after=3", Step::End, 3),
        ("two_finishes", Step::End, 7),
        ("group=4 cut_after=3", Step::Cut, 3),
    ] {
        let (bytes, last) = stream(&format!("/sim tokens=5 {switches}"));
        let written = String::from_utf8_lossy(&bytes).matches("event:result\n").count();
        assert_eq!((last, written), (end, frames), "{switches}");
    }
}

#[test]
fn spellings_differ_where_they_should() {
    let good = text("/sim text=a no_usage");
    let spelled = |switch: &str| text(&format!("/sim text=a no_usage {switch}"));
    assert_eq!(spelled("crlf").replace("\r\n", "\n"), good);
    assert_eq!(spelled("cr").replace('\r', "\n"), good);
    assert_eq!(spelled("bom"), format!("\u{feff}{good}"));
    assert_eq!(spelled("no_blank_lines"), good.replace("\n\n", "\n"));
    assert_eq!(format!("{}\n", spelled("no_last_blank")), good);
    assert!(spelled("space_after_colon").starts_with("id: 1\nevent: result\n:HTTP_STATUS/200\ndata: {"));
    assert!(spelled("many_data_lines").contains("data:\"request_id\":\"R\"}\n"));
    assert!(spelled("null_finish").contains("\"finish_reason\":null"));
    assert!(spelled("done_marker").ends_with("}\n\ndata:[DONE]\n\n"));
    assert!(spelled("finish=tool_calls").contains("get_weather"));
}

#[test]
fn cumulative_text_can_be_rewritten_shortened_or_change_its_mode() {
    let last = |switch: &str| {
        let text = text(&format!("/sim text=\"one two three four\" no_usage {switch}"));
        let line = text.lines().rfind(|line| line.starts_with("data:")).unwrap_or_default().to_owned();
        line.split("\"content\":\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(last("mode=cumulative"), "one two three four");
    assert_eq!(last("cumulative_rewrite_after=2"), "(rewritten) one two three four");
    assert_eq!(last("cumulative_shrink_after=3"), "one tw four");
    assert_eq!(last("mode=cumulative switch_mode_after=2"), "");
}

#[test]
fn a_long_line_has_its_length() {
    let (bytes, last) = stream("/sim tokens=2 long_line=300000");
    let longest = bytes.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
    assert_eq!((longest, last), (Some(300_000 + "data:{\"pad\":\"\"}".len()), Step::End));
}

#[test]
fn a_fault_holds_for_its_number_of_requests_and_the_table_is_bounded() {
    let mut times = Times::default();
    let faulty: Vec<bool> =
        (0..4).map(|_| times.is_faulty("/sim cut_after=1 times=2", Duration::ZERO, Some(2), None)).collect();
    assert_eq!(faulty, [true, true, false, false]);
    for k in 0..Times::MESSAGES_MAX {
        times.is_faulty(&k.to_string(), Duration::ZERO, Some(1), None);
    }
    assert!(
        times.is_faulty("/sim cut_after=1 times=2", Duration::ZERO, Some(2), None),
        "the oldest is forgotten"
    );
    let healthy = Script::parse_healthy("/sim cut_after=1 tokens=3 times=2 status=500").expect("a script");
    assert_eq!((healthy.tokens, healthy.faults.len(), healthy.error.status), (Some(3), 0, None));
}
