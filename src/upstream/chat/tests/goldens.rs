//! Responses of real engines and of services as their references describe them, with the transcripts of reading them
//! (`UPDATE_EXPECT=1` blesses).
use super::*;
use expect_test::expect_file;

/// Reads a fixture at once, byte by byte and in odd pieces: the transcript is always the same.
fn check(name: &str, head: Head<'_>) {
    let path = format!("{}/tests/fixtures/upstream/chat/{name}", env!("CARGO_MANIFEST_DIR"));
    let body = std::fs::read(&path).unwrap();
    let whole = transcript(&read("other", head, LIMITS, [body.as_slice()]));
    expect_file![format!("{path}.expected")].assert_eq(&whole);
    for size in [1, 2, 3, 7, 64] {
        let split = read("other", head, LIMITS, body.chunks(size));
        assert_eq!(transcript(&split), whole, "{name} in pieces of {size}");
    }
}

fn check_all(names: &[&str], head: Head<'_>) {
    for name in names {
        check(name, head);
    }
}

fn status(status: u16) -> Head<'static> {
    Head { status, ..JSON }
}

#[test]
fn answers_of_llamacpp() {
    check_all(
        &[
            "llamacpp_text.sse",
            "llamacpp_without_usage.sse",
            "llamacpp_thinking.sse",
            "llamacpp_two_choices.sse",
        ],
        STREAM,
    );
    check("llamacpp_error_too_long.json", status(400));
    check("llamacpp_loading.json", status(503));
}

/// A person can provoke this status, so it must say nothing about the service.
#[test]
fn an_image_for_a_text_model_is_the_requests_fault_although_the_status_is_500() {
    check("llamacpp_error_image.json", status(500));
}

#[test]
fn answers_of_vllm() {
    check_all(
        &[
            "vllm_last_text_with_finish.sse",
            "vllm_continuous_usage.sse",
            "vllm_thinking.sse",
            "vllm_two_choices.sse",
        ],
        STREAM,
    );
    check("vllm_error_too_long.json", status(400));
}

#[test]
fn streams_of_services() {
    check_all(
        &["openai.sse", "usage_null_elsewhere.sse", "azure.sse", "ollama.sse", "deepseek_thinking.sse"],
        STREAM,
    );
    check_all(&["moonshot_usage_in_choice.sse", "groq_usage.sse", "length_while_thinking.sse"], STREAM);
    check_all(&["tool_call.sse", "content_filter.sse"], STREAM);
}

#[test]
fn streams_that_are_spelled_leniently() {
    check_all(
        &["no_done.sse", "done_without_blank_line.sse", "text_behind_done.sse", "crlf_comments.sse"],
        STREAM,
    );
    check_all(&["text_behind_finish.sse", "garbage_behind_finish.sse"], STREAM);
}

/// An error object, an event named error, an error beside choices, a field named error, a finish reason with the error
/// as its text, an abort, a flat error, a silent end, and a cut.
#[test]
fn the_nine_shapes_of_failure_after_a_good_status() {
    check_all(
        &["error_object.sse", "error_object_sglang.sse", "error_string.sse", "filter_midway.sse"],
        STREAM,
    );
    check_all(
        &["error_event.sse", "error_beside_choices.sse", "error_field.sse", "error_finish.sse"],
        STREAM,
    );
    check_all(&["abort.sse", "insufficient_system_resource.sse", "unknown_finish.sse"], STREAM);
    check_all(
        &["native_throttling.sse", "flat_error.sse", "silent_end.sse", "done_without_finish.sse"],
        STREAM,
    );
    check_all(&["cut_in_event.sse", "broken_json.sse", "no_json.sse"], STREAM);
}

#[test]
fn json_instead_of_a_stream() {
    check_all(
        &["answer.json", "answer_reasoning_alone.json", "answer_unfinished.json", "error_in_200.json"],
        JSON,
    );
}

#[test]
fn errors_before_the_stream() {
    check("openai_401.json", status(401));
    check("openai_404.json", status(404));
    check("fastapi_404.json", status(404));
    check("mistral_422.json", status(422));
}

#[test]
fn a_good_status_with_something_else() {
    for content_type in [Some("text/html; charset=utf-8"), Some("text/plain"), None] {
        let head = Head { content_type, ..STREAM };
        let (events, end) = read("other", head, LIMITS, [&b"<html>Hello</html>"[..]]);
        let error = end.outcome.unwrap_err();
        assert_eq!((events.len(), error.kind), (0, RunErrorKind::UpstreamProtocol));
        assert!(!error.detail.contains("Hello"), "{error}");
    }
    for body in ["", ": keep-alive\n\n: keep-alive\n\n", "data: [DONE]\n\n"] {
        let (events, end) = read("other", STREAM, LIMITS, [body.as_bytes()]);
        assert!(events.is_empty() && end.outcome.is_err(), "{body}");
    }
}

/// The second answer is read by the shape of the first one, although its id and its time differ.
#[test]
fn answers_that_differ_in_id_and_time_share_a_shape() {
    let first = include_str!("../../../../tests/fixtures/upstream/chat/openai.sse");
    let second = first.replace("chatcmpl-1", "chatcmpl-another").replace("1763800000", "1800000001");
    for body in [first, &second] {
        let (events, end) = read("other", STREAM, LIMITS, [body.as_bytes()]);
        assert_eq!((answer(&events).as_str(), end.outcome), ("你好, \"tide\"", Ok(FinishReason::Stop)));
    }
    let frame = |id: &str, created: &str, text: &str| {
        first
            .lines()
            .find(|line| line.contains("你好"))
            .unwrap()
            .strip_prefix("data: ")
            .unwrap()
            .replace("chatcmpl-1", id)
            .replace("1763800000", created)
            .replace("你好", text)
    };
    let mut template = crate::upstream::template::Template::default();
    let line = frame("a", "1763800000", "x");
    let parsed = ChatFrame::parse(line.as_bytes()).unwrap();
    template.learn(line.as_bytes(), parsed.sample(&parsed.content().unwrap()));
    let mut text = |id: &str, created: &str| {
        template.read(frame(id, created, "tide").as_bytes()).map(|fit| fit.text.to_owned())
    };
    assert_eq!(text("chatcmpl-b", "1800000001"), Some("tide".to_owned()));
    assert_eq!(text("chatcmpl-b", "1"), Some("tide".to_owned()));
    for created in ["01", "-1", "1.5", "", "null", "123456789012345678901"] {
        assert_eq!(text("chatcmpl-b", created), None, "{created}");
    }
}
