//! What the service refuses, and what it takes by default.
use super::*;
use crate::simulator::script::{Dialect, Format, Mode};

fn told(error: &ErrorAnswer) -> String {
    format!("{} {}: {}", error.status, error.code, error.message)
}

fn refused(model: &str, parameters: &str, endpoint: Endpoint, stream: bool) -> String {
    told(&planned(&body(model, "hi", parameters), endpoint, stream).expect_err("an error"))
}

#[test]
fn wrong_bodies_are_refused_by_name() {
    for (body, wanted) in [
        ("{", "400 InvalidParameter"),
        (r#"{"input":{"prompt":"x"},"parameters":{}}"#, "400 BadRequest.EmptyModel"),
        (r#"{"model":"m","parameters":{}}"#, "400 BadRequest.EmptyInput"),
        (r#"{"model":"m","input":{},"parameters":{}}"#, "400 BadRequest.EmptyInput"),
        (r#"{"model":"m","input":{"prompt":"x"}}"#, "400 BadRequest.EmptyParameters"),
        (r#"{"model":"m","input":{"messages":[]},"parameters":{}}"#, "400 InvalidParameter: Range of input"),
        (
            r#"{"model":"m","input":{"messages":[{"role":"robot","content":"x"}]},"parameters":{}}"#,
            "400 InvalidParameter: Role",
        ),
        (r#"{"model":"sim-nobody","input":{"prompt":"x"},"parameters":{}}"#, "404 ModelNotFound"),
    ] {
        let error = told(&planned(body, Endpoint::Text, true).expect_err(body));
        assert!(error.starts_with(wanted), "{body}: {error}");
    }
}

#[test]
fn parameters_have_ranges() {
    for (parameters, wanted) in [
        (r#"{"temperature":2}"#, "Temperature"),
        (r#"{"temperature":"hot"}"#, "'temperature'"),
        (r#"{"top_p":0}"#, "Range of top_p"),
        (r#"{"top_k":-1}"#, "Parameter top_k"),
        (r#"{"max_tokens":0}"#, "Range of max_tokens"),
        (r#"{"seed":2147483648}"#, "Range of seed"),
        (r#"{"n":5}"#, "Range of n"),
        (r#"{"presence_penalty":3}"#, "Presence_penalty"),
        (r#"{"thinking_budget":0}"#, "The thinking_budget"),
        (r#"{"enable_thinking":true,"incremental_output":false}"#, "The incremental_output parameter must"),
    ] {
        let error = refused("qwen-plus", parameters, Endpoint::Text, true);
        assert!(error.starts_with(&format!("400 InvalidParameter: {wanted}")), "{parameters}: {error}");
    }
    let passes = r#"{"temperature":1.99,"top_p":1.0,"top_k":null,"unknown":[]}"#;
    assert!(planned(&body("qwen-plus", "hi", passes), Endpoint::Text, true).is_ok());
}

#[test]
fn thinking_wants_a_stream_of_increments() {
    assert!(refused("sim-think", "{}", Endpoint::Text, false).contains("only support stream mode"));
    assert!(
        refused("qwq-plus", r#"{"incremental_output":false}"#, Endpoint::Text, true)
            .contains("cannot be set")
    );
    assert!(
        refused("qwen-plus", r#"{"enable_thinking":true}"#, Endpoint::Text, false).contains("non-streaming")
    );
}

#[test]
fn models_live_on_one_path() {
    assert!(refused("qwen-vl-max", "{}", Endpoint::Text, true).contains("url error"));
    assert!(refused("qwen-plus", "{}", Endpoint::Multimodal, true).contains("url error"));
    assert!(planned(&body("sim-chat", "hi", "{}"), Endpoint::Multimodal, true).is_ok());
}

#[test]
fn what_is_not_sent_depends_on_the_family() {
    for (model, mode, format) in [
        ("qwen-plus", Mode::Cumulative, Format::Text),
        ("qwen3-max", Mode::Incremental, Format::Message),
        ("qwen3-32b", Mode::Incremental, Format::Message),
        ("sim-think", Mode::Incremental, Format::Message),
    ] {
        let request = parse_dashscope(body(model, "hi", "{}").as_bytes(), Endpoint::Text, true).expect(model);
        let Dialect::DashScope { format: given, .. } = request.dialect else { panic!("another dialect") };
        assert_eq!((request.mode, given), (mode, format), "{model}");
    }
}

#[test]
fn caps_end_an_answer_with_length() {
    let parameters = r#"{"result_format":"message","incremental_output":true,"max_tokens":3}"#;
    let (bytes, _) = stream_of("qwen-plus", "/sim tokens=9", parameters, Endpoint::Text);
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains(r#""finish_reason":"length""#) && text.contains(r#""output_tokens":3"#), "{text}");
    let parameters = parameters.replace("max_tokens", "max_completion_tokens");
    let (bytes, _) = stream_of("qwen-plus", "/sim think=2 tokens=9", &parameters, Endpoint::Text);
    assert_eq!(String::from_utf8_lossy(&bytes).matches("event:result").count(), 4);
}

#[test]
fn a_plain_reply_is_json_with_everything() {
    let request = body("qwen-plus", "/sim text=ok no_usage", r#"{"result_format":"message"}"#);
    let plan = planned(&request, Endpoint::Text, false).expect("a plan");
    let Head::Fixed(fixed) = plan.head else { panic!("a stream") };
    let wanted = r#"{"output":{"choices":[{"message":{"content":"ok","role":"assistant"},"finish_reason":"stop"}]},"request_id":"R"}"#;
    assert_eq!(String::from_utf8_lossy(&fixed.body), wanted);
}

#[test]
fn parts_of_content_are_joined_and_other_parts_ignored() {
    let body = r#"{"model":"sim-echo","input":{"messages":[{"role":"user","content":[{"image":"x"},{"text":"a"},{"text":"b"}]}]},"parameters":{}}"#;
    let request = parse_dashscope(body.as_bytes(), Endpoint::Multimodal, true).expect("a request");
    assert_eq!(request.last_user_text(), "ab");
}

#[test]
fn an_answer_that_was_begun_is_continued() {
    let body = |model: &str, text: &str| {
        format!(
            r#"{{"model":"{model}","input":{{"messages":[{{"role":"user","content":"/sim text=\"one two three\" no_usage"}},{{"role":"assistant","content":"{text}","partial":true}}]}},"parameters":{INCREMENTAL}}}"#
        )
    };
    for (begun, rest) in
        [("one tw", "o three"), ("one two", " three"), ("one two three", ""), ("ONE", "one two three")]
    {
        let plan = planned(&body("sim-chat", begun), Endpoint::Text, true).expect("a plan");
        let text = String::from_utf8(written(plan).0).expect("UTF-8");
        let pieces = text.split("\"content\":\"").skip(1).filter_map(|part| part.split('"').next());
        assert_eq!(pieces.collect::<String>(), rest, "{begun}");
    }
    let error = planned(&body("sim-noprefill", "one"), Endpoint::Text, true).expect_err("refused");
    assert!(told(&error).contains("continuing a partial"), "{error:?}");
}

#[test]
fn a_model_can_refuse_the_newer_cap() {
    let parameters = r#"{"max_completion_tokens":5}"#;
    assert!(refused("sim-nocap", parameters, Endpoint::Text, true).contains("max_completion_tokens is not"));
    assert!(planned(&body("sim-nocap", "hi", r#"{"max_tokens":5}"#), Endpoint::Text, true).is_ok());
}
