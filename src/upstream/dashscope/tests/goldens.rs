//! Captured-looking responses and the transcripts of reading them (`UPDATE_EXPECT=1` blesses).
use super::*;
use crate::chat::{Retry, RunErrorKind};
use expect_test::expect_file;

/// Reads a fixture at once, byte by byte and in odd pieces: the transcript is always the same.
fn check(name: &str, head: Head) {
    let path = format!("{}/tests/fixtures/upstream/dashscope/{name}", env!("CARGO_MANIFEST_DIR"));
    let body = std::fs::read(&path).unwrap();
    let whole = transcript(&head.read(LIMITS, [body.as_slice()]));
    expect_file![format!("{path}.expected")].assert_eq(&whole);
    for size in [1, 2, 3, 7, 64] {
        let split = head.read(LIMITS, body.chunks(size));
        assert_eq!(transcript(&split), whole, "{name} in pieces of {size}");
    }
}

fn check_all(names: &[&str], head: Head) {
    for name in names {
        check(name, head);
    }
}

fn status(status: u16, content_type: Option<&'static str>) -> Head {
    Head { status, content_type, ..STREAM }
}

// faults: D51
#[test]
fn a_wrong_key() {
    check("error_401.json", Head { status: 401, request_id: Some("from-header"), ..JSON });
}

// faults: D52
#[test]
fn a_conversation_that_is_too_long_and_a_refused_message() {
    check("error_400_too_long.json", Head { status: 400, ..JSON });
    check("error_400_filter.json", Head { status: 400, ..JSON });
}

// faults: D53
#[test]
fn a_wrong_model() {
    check("error_404_model.json", Head { status: 404, ..JSON });
}

// faults: D54
#[test]
fn too_many_requests() {
    let after = Some(Duration::from_secs(3));
    check("error_429.json", Head { status: 429, retry_after: after, ..JSON });
    check("error_429_bill.json", Head { status: 429, ..JSON });
}

// faults: D55
#[test]
fn proxies_between() {
    check("error_502.html", status(502, Some("text/html")));
    check("error_without_code.json", status(503, Some("text/plain")));
    for (code, content_type) in [(500, None), (503, Some("text/html")), (504, STREAM.content_type)] {
        let (events, end) = status(code, content_type).read(LIMITS, []);
        let error = end.outcome.unwrap_err();
        assert_eq!((events.len(), error.kind, error.status), (0, RunErrorKind::UpstreamError, Some(code)));
        assert_eq!(error.retry, Retry::BackOff { slow: false });
    }
    let named = Head { request_id: Some("from-header"), ..status(502, None) };
    assert_eq!(named.read(LIMITS, []).1.request_id.as_deref(), Some("from-header"));
    // Of an endless error page only the beginning is kept.
    let page = vec![b'x'; 5 << 20];
    let (_, end) = status(502, Some("text/html")).read(LIMITS, page.chunks(4096));
    assert_eq!(end.outcome.unwrap_err().detail.len(), RunError::DETAIL_MAX);
}

// faults: D56
#[test]
fn json_instead_of_a_stream() {
    check_all(&["answer.json", "answer_text.json", "answer_unfinished.json"], JSON);
    check_all(&["answer_cut.json", "error_in_200.json"], JSON);
    let charset = Head { content_type: Some("Application/JSON; charset=utf-8"), ..CUMULATIVE };
    check("answer.json", charset);
    let (_, end) = JSON.read(LIMITS, []);
    assert_eq!(end.outcome.unwrap_err().kind, RunErrorKind::UpstreamProtocol);
    let long = vec![b' '; LIMITS.event_bytes + 1];
    let (_, end) = JSON.read(LIMITS, long.chunks(1000));
    assert_eq!(end.outcome.unwrap_err().kind, RunErrorKind::UpstreamProtocol);
}

// faults: D57
#[test]
fn a_good_status_with_something_else() {
    for content_type in [Some("text/html; charset=utf-8"), Some("text/plain"), Some(""), None] {
        for body in [&b"<html>Hello</html>"[..], b"data:{\"output\":{\"text\":\"x\"}}\n\n", b""] {
            let (events, end) = status(200, content_type).read(LIMITS, [body]);
            let error = end.outcome.unwrap_err();
            assert_eq!((events.len(), error.kind), (0, RunErrorKind::UpstreamProtocol));
            assert!(!error.detail.contains("Hello"), "{error}");
        }
    }
    check("html.sse", STREAM);
    let odd = Head { content_type: Some("Text/Event-Stream ; foo=\"bar\";;"), ..STREAM };
    check("incremental.sse", odd);
}

// faults: D58
#[test]
fn a_redirect() {
    for content_type in [STREAM.content_type, JSON.content_type, None] {
        let (_, end) = status(307, content_type).read(LIMITS, [&b"moved"[..]]);
        let error = end.outcome.unwrap_err();
        assert_eq!((error.kind, error.retry), (RunErrorKind::NotSetUp, Retry::No));
    }
}

#[test]
fn streams_as_they_should_be() {
    check_all(&["incremental.sse", "incremental_with_index.sse", "thinking.sse", "interleaved.sse"], STREAM);
    check_all(&["multimodal_thinking.sse", "result_format_text.sse"], STREAM);
    check("incremental.sse", Head { request_id: Some("from-header"), ..STREAM });
}

// faults: E66
#[test]
fn line_ends() {
    check_all(&["crlf.sse", "mixed_line_ends.sse", "bare_cr.sse"], STREAM);
}

// faults: E67
#[test]
fn marks_and_separators_in_text() {
    check("byte_order_mark.sse", STREAM);
    check("control_character.sse", STREAM);
}

// faults: E68
#[test]
fn fields_of_every_form() {
    check_all(&["spaces_and_comments.sse", "incremental.sse"], STREAM);
}

// faults: E69
#[test]
fn blank_lines_that_are_missing() {
    check_all(&["no_blank_lines.sse", "no_last_blank_line.sse", "no_last_line_end.sse"], STREAM);
}

// faults: E70
#[test]
fn data_over_several_lines() {
    check_all(&["pretty_printed.sse", "pretty_printed_without_blank_line.sse"], STREAM);
}

// faults: E71
#[test]
fn lines_and_events_beyond_the_bound() {
    let mut reader = STREAM.reader(LIMITS);
    let mut events = Vec::new();
    reader.feed(b"data:{\"output\":{\"text\":\"kept\"}}\n\ndata:", &mut events).unwrap();
    let endless = [b'x'; 4096];
    let error = (0..1000).find_map(|_| reader.feed(&endless, &mut events).err()).unwrap();
    assert_eq!(error.kind, RunErrorKind::UpstreamProtocol);
    assert_eq!(answer(&events), "kept");
    let many = "data:{\n".to_owned() + &"data: \n".repeat(LIMITS.event_bytes);
    let (_, end) = STREAM.read(LIMITS, [many.as_bytes()]);
    let error = end.outcome.unwrap_err();
    assert_eq!((error.kind, error.detail.contains("event")), (RunErrorKind::UpstreamProtocol, true));
}

// faults: E72
#[test]
fn bytes_that_are_no_text() {
    check_all(&["invalid_utf8.sse", "invalid_utf8_plain.sse", "character_cut.sse"], STREAM);
    check("invalid_utf8.sse", CUMULATIVE);
}

// faults: E73
#[test]
fn json_that_is_none_or_of_the_wrong_shape() {
    check_all(&["json_broken.sse", "json_truncated.sse", "duplicate_keys.sse", "lone_surrogate.sse"], STREAM);
    check_all(&["type_content.sse", "type_choices.sse", "type_finish.sse", "type_part.sse"], STREAM);
    check_all(&["type_array.sse", "usage_odd.sse"], STREAM);
    let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
    for place in [
        format!("{{\"x\":{open}{close}}}"),
        format!("{{\"output\":{open}{close}}}"),
        format!("{{\"usage\":{{\"input_tokens\":{open}{close}}}}}"),
        format!("{{\"error\":{open}{close}}}"),
        format!("{{\"output\":{{\"choices\":[{{\"message\":{{\"content\":{open}{close}}}}}]}}}}"),
        format!("{{\"output\":{{\"choices\":{open}"),
    ] {
        for head in [STREAM, CUMULATIVE, JSON] {
            let body = if head.content_type == JSON.content_type {
                place.clone()
            } else {
                format!("data:{place}\n\n")
            };
            let (events, end) = head.read(LIMITS, [body.as_bytes()]);
            assert_eq!((events.len(), end.outcome.is_err()), (0, true));
        }
    }
}

// faults: E74
#[test]
fn frames_that_say_nothing() {
    check("empty_things.sse", STREAM);
    check("empty_things.sse", CUMULATIVE);
}

// faults: E75
#[test]
fn errors_in_all_carriers() {
    check("carrier_b.sse", status(429, STREAM.content_type));
    check("carrier_b.sse", status(429, JSON.content_type));
    check("carrier_b.sse", status(429, None));
    check_all(&["carrier_c.sse", "carrier_c_filter.sse", "carrier_d.sse"], STREAM);
    check_all(&["error_with_spaces.sse", "error_without_code.sse", "error_without_json.sse"], STREAM);
    check_all(&["error_broken_json.sse", "error_without_data.sse", "error_by_status_alone.sse"], STREAM);
    check_all(&["error_by_code_alone.sse", "error_code_is_number.sse", "error_object.sse"], STREAM);
    check_all(&["error_object_type.sse", "error_string.sse", "error_field.sse"], STREAM);
    check_all(&["error_event_before_id.sse", "error_nasty_id.sse"], STREAM);
    check("carrier_d_cumulative.sse", CUMULATIVE);
}

// faults: E76
#[test]
fn reasons_to_finish() {
    check_all(&["finish_length.sse", "finish_tool_calls.sse", "finish_tool_calls_only.sse"], STREAM);
    check_all(&["finish_content_filter.sse", "finish_unknown.sse"], STREAM);
}

// faults: E77
#[test]
fn null_is_not_finished_and_cumulative_text_is_compared() {
    check_all(&["null_as_json.sse", "null_to_the_end.sse"], STREAM);
    check_all(&["cumulative.sse", "cumulative_keys_moved.sse", "cumulative_other_escapes.sse"], CUMULATIVE);
    check_all(
        &["cumulative_array.sse", "cumulative_second_choice.sse", "cumulative_thinking.sse"],
        CUMULATIVE,
    );
}

// faults: E78
#[test]
fn cumulative_text_that_does_not_only_grow() {
    check_all(&["cumulative_shrinks.sse", "cumulative_rewritten.sse"], CUMULATIVE);
    check_all(&["cumulative_turns_incremental.sse", "cumulative_repeats.sse"], CUMULATIVE);
}

// faults: E79
#[test]
fn what_follows_the_finish() {
    check_all(&["text_after_finish.sse", "usage_after_finish.sse", "usage_never.sse"], STREAM);
    check_all(&["garbage_after_finish.sse", "done_marks.sse", "done_without_finish.sse"], STREAM);
    let mut reader = STREAM.reader(LIMITS);
    assert!(!reader.finished());
    let finish = b"data:{\"output\":{\"finish_reason\":\"stop\",\"text\":\"\"}}\n";
    reader.feed(finish, &mut Vec::new()).unwrap();
    assert!(reader.finished());
    // A line without end after the finish costs neither the answer nor memory.
    for _ in 0..1000 {
        reader.feed(&[b'x'; 4096], &mut Vec::new()).unwrap();
    }
    assert!(reader.end(&mut Vec::new()).outcome.is_ok());
}

// faults: E80, E81
#[test]
fn an_answer_without_an_end() {
    check_all(&["cut_at_event.sse", "cut_in_event.sse", "cut_in_field_name.sse"], STREAM);
    check_all(&["only_comments.sse", "empty.sse"], STREAM);
    // Cut anywhere, it is never done, and what came is kept.
    let body = include_bytes!("../../../../tests/fixtures/upstream/dashscope/incremental.sse");
    let finish = body.windows(6).rposition(|bytes| bytes == b"\"stop\"").unwrap();
    for cut in 0..finish {
        let (events, end) = STREAM.read(LIMITS, [&body[..cut]]);
        assert!(end.outcome.is_err(), "cut at {cut}");
        assert!("你好，世界".starts_with(&answer(&events)));
    }
}

// faults: E82, E83
#[test]
fn comments_alone_are_no_event() {
    // Time is the lane's matter; here it only counts that comments are neither text nor an end.
    let mut reader = STREAM.reader(LIMITS);
    let mut events = Vec::new();
    for _ in 0..10_000 {
        reader.feed(b":keepalive\n\n", &mut events).unwrap();
    }
    assert!(events.is_empty() && !reader.finished());
    assert_eq!(reader.end(&mut events).outcome.unwrap_err().retry, Retry::Once);
}

// faults: E84
#[test]
fn many_small_ones_and_one_too_large() {
    check("many_in_one_read.sse", STREAM);
    let limits = Limits { answer_bytes: 10, ..LIMITS };
    for head in [STREAM, CUMULATIVE] {
        let body = "data:{\"output\":{\"text\":\"1234567你好\"}}\n\n";
        let (events, end) = head.read(limits, [body.as_bytes()]);
        let error = end.outcome.unwrap_err();
        assert_eq!((answer(&events).as_str(), error.kind), ("1234567你", RunErrorKind::AnswerTooLong));
        let (events, end) = head.read(Limits { answer_bytes: 13, ..LIMITS }, [body.as_bytes()]);
        assert_eq!(
            (answer(&events).as_str(), end.outcome.unwrap_err().kind),
            ("1234567你好", RunErrorKind::Interrupted)
        );
    }
    let thinking = "data:{\"output\":{\"choices\":[{\"message\":{\"reasoning_content\":\"12345678\",\"content\":\"9你\"}}]}}\n";
    let (events, end) = STREAM.read(limits, [thinking.as_bytes()]);
    assert_eq!((answer(&events).as_str(), end.outcome.unwrap_err().kind), ("9", RunErrorKind::AnswerTooLong));
    // A delta of a megabyte, when lines may be that long.
    let wide = Limits { line_bytes: 2 << 20, event_bytes: 2 << 20, answer_bytes: 4 << 20 };
    let body = format!(
        "data:{{\"output\":{{\"finish_reason\":\"stop\",\"text\":\"{}\"}}}}\n\n",
        "x".repeat(1 << 20)
    );
    let (events, end) = STREAM.read(wide, body.as_bytes().chunks(16 << 10));
    assert_eq!((answer(&events).len(), end.outcome.is_ok()), (1 << 20, true));
}

// faults: E85
#[test]
fn the_tokens_so_far_are_known_when_a_run_is_left() {
    let body = include_bytes!("../../../../tests/fixtures/upstream/dashscope/cut_at_event.sse");
    let mut reader = STREAM.reader(LIMITS);
    reader.feed(body, &mut Vec::new()).unwrap();
    assert_eq!(reader.usage().unwrap().output_tokens, 3);
    assert_eq!(reader.request_id(), Some("7a1f0c52-93b4-9f0e-8d21-5be0c1d2a001"));
}

// faults: E87
#[test]
fn text_that_looks_like_something_else() {
    check("nasty_text.sse", STREAM);
    check("nasty_text.sse", CUMULATIVE);
}

#[test]
fn payloads_that_are_no_json_are_text() {
    check("plain_text.sse", STREAM);
    // An empty line inside such a text is a line of it; without any text it adds nothing.
    let (events, end) = STREAM.read(LIMITS, [&b"data: a\ndata:\ndata: b\n\n"[..]]);
    assert_eq!(
        (answer(&events).as_str(), end.outcome.unwrap_err().kind),
        ("a\n\nb", RunErrorKind::Interrupted)
    );
    let (events, end) = STREAM.read(LIMITS, [&b"data:\ndata: \n\ndata:\n\n"[..]]);
    assert_eq!((events.len(), end.outcome.unwrap_err().kind), (0, RunErrorKind::UpstreamProtocol));
}

// faults: D58
#[test]
fn a_redirect_is_no_answer_whatever_its_body_holds() {
    let body = include_bytes!("../../../../tests/fixtures/upstream/dashscope/incremental.sse");
    for content_type in [STREAM.content_type, JSON.content_type, None] {
        let (events, end) = status(307, content_type).read(LIMITS, [&body[..]]);
        assert_eq!((events.len(), end.outcome.unwrap_err().kind), (0, RunErrorKind::NotSetUp));
    }
    let text = b"data: plain text, which is an answer elsewhere\n\n";
    let (events, end) = status(307, STREAM.content_type).read(LIMITS, [&text[..]]);
    assert_eq!((events.len(), end.outcome.unwrap_err().kind), (0, RunErrorKind::NotSetUp));
}

// faults: E84
#[test]
fn a_body_that_is_no_stream_is_held_up_to_its_bound() {
    let body = br#"{"output":{"text":"hi","finish_reason":"stop"}}"#;
    let read = |limit| JSON.read(Limits { event_bytes: limit, ..LIMITS }, body.chunks(7)).1.outcome;
    assert!(read(body.len()).is_ok());
    assert_eq!(read(body.len() - 1).unwrap_err().kind, RunErrorKind::UpstreamProtocol);
    // Of an error page the beginning is enough.
    let limits = Limits { event_bytes: 20, ..LIMITS };
    let page = [[b'x'; 15], [b'y'; 15]];
    let (_, end) = status(502, Some("text/html")).read(limits, page.iter().map(<[u8; 15]>::as_slice));
    assert_eq!(end.outcome.unwrap_err().detail, "xxxxxxxxxxxxxxxyyyyy");
    let (_, end) = status(502, Some("text/html")).read(LIMITS, []);
    assert_eq!(end.outcome.unwrap_err().detail, "an empty body");
    let long = "你".repeat(RunError::DETAIL_MAX + 9);
    let (_, end) = status(502, None).read(LIMITS, [long.as_bytes()]);
    assert_eq!(end.outcome.unwrap_err().detail, long[..3 * RunError::DETAIL_MAX]);
    // Another kind of body is refused with its first byte and not before.
    let mut reader = Head { content_type: Some("text/html"), ..STREAM }.reader(LIMITS);
    assert!(reader.feed(b"", &mut Vec::new()).is_ok());
    assert!(reader.feed(b"<", &mut Vec::new()).is_err());
}

#[test]
fn a_call_of_a_tool_is_one_whatever_the_finish_says() {
    for (calls, is_call) in [("[]", false), ("[ ]", false), ("[{\"id\":\"1\"}]", true), ("{}", true)] {
        let message = format!("{{\"content\":\"x\",\"tool_calls\":{calls}}}");
        let body = format!(
            "data:{{\"output\":{{\"choices\":[{{\"message\":{message},\"finish_reason\":\"stop\"}}]}}}}\n\n"
        );
        let (_, end) = STREAM.read(LIMITS, [body.as_bytes()]);
        let kind = end.outcome.err().map(|error| error.kind);
        assert_eq!(kind, is_call.then_some(RunErrorKind::ToolsNotSupported), "{calls}");
    }
}
