//! The chat dialect: chunks byte by byte, by engine, and what is refused.
use super::*;
use crate::simulator::script::{Spell, chat::SPELLS, model_list};
use expect_test::{expect, expect_file};
use serde_json::{Value, json};

/// A request for a stream with usage and one user message.
fn request(model: &str, message: &str, more: Value) -> String {
    let mut body = json!({
        "model": model, "messages": [{ "role": "user", "content": message }],
        "stream": true, "stream_options": { "include_usage": true },
    });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body.to_string()
}

fn asked(body: &str) -> Result<Plan, ErrorAnswer> {
    let plan = parse_chat(body.as_bytes(), Spell::plain()).and_then(|request| plan_of(&request));
    plan.map_err(|error| super::super::chat::answer(&error, Spell::plain()))
}

/// Everything that a stream writes.
fn chunks(model: &str, message: &str) -> String {
    let plan = asked(&request(model, message, json!({}))).expect("a plan");
    String::from_utf8(written(plan).0).expect("UTF-8")
}

fn refused(model: &str, message: &str, more: Value) -> String {
    let error = asked(&request(model, message, more)).expect_err("an error");
    format!("{} {} {}: {}", error.status, error.class, error.code, error.message)
}

#[test]
fn five_chunks_and_the_end_make_an_answer() {
    expect![[r#"
        data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"sim-chat","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}

        data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"sim-chat","choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}],"usage":null}

        data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"sim-chat","choices":[{"index":0,"delta":{"content":" \""},"logprobs":null,"finish_reason":null}],"usage":null}

        data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"sim-chat","choices":[{"index":0,"delta":{"content":"you"},"logprobs":null,"finish_reason":null}],"usage":null}

        data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"sim-chat","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}

        data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"sim-chat","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":0}}}

        data: [DONE]

    "#]].assert_eq(&chunks("sim-chat", r#"/sim text="Hi \"you""#));
    let quiet =
        asked(&request("sim-chat", "/sim text=Hi", json!({ "stream_options": null }))).expect("a plan");
    assert!(!String::from_utf8_lossy(&written(quiet).0).contains("usage"));
}

#[test]
fn each_engine_has_its_own_spelling() {
    for spell in &SPELLS {
        let message = format!("/sim text=\"Hi you\" think=1 seed=2 spell={}", spell.name);
        let text = chunks("sim-chat", &message);
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/simulator/script/tests/spellings");
        expect_file![format!("{golden}/{}.sse", spell.name)].assert_eq(&text);
        let payloads = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect::<Vec<_>>();
        let (end, chunks) = payloads.split_last().expect("chunks");
        assert_eq!(*end, "[DONE]");
        for chunk in chunks {
            assert!(serde_json::from_str::<Value>(chunk).is_ok(), "{chunk}");
        }
    }
}

#[test]
fn each_engine_has_its_own_errors_and_list() {
    let mut all = String::new();
    for spell in &SPELLS {
        for error in
            ["error=rate", "error=full", "error=image", "error=too_long", "error=money", "status=404"]
        {
            let message = format!("/sim {error} spell={}", spell.name);
            let plan = asked(&request("sim-chat", &message, json!({}))).expect("a plan");
            let Head::Fixed(fixed) = plan.head else { panic!("a stream") };
            all += &format!("{} {} {}\n", spell.name, fixed.status, String::from_utf8_lossy(&fixed.body));
        }
        let list = model_list(spell, &["m".to_owned()], 1);
        all += &format!("{}\n\n", String::from_utf8_lossy(&list));
    }
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/simulator/script/tests/spellings/errors.txt");
    expect_file![golden].assert_eq(&all);
}

#[test]
fn an_answer_breaks_in_nine_forms() {
    let mut all = String::new();
    for form in ["object", "event", "choice", "field", "finish", "abort", "flat", "flat_object", "silent"] {
        let text = chunks("sim-chat", &format!("/sim text=\"a b\" error_after=1 break={form}"));
        let (_, end) = text.split_once("\"content\":\"a\"").expect("the text before");
        let (_, end) = end.split_once("\n\n").expect("the end of its chunk");
        all += &format!("{form}\n{end}");
    }
    expect![[r#"
        object
        data: {"error":{"code":"data_inspection_failed","message":"Output data may contain inappropriate content.","param":null,"type":"data_inspection_failed"}}

        event
        event: error
        data: {"error":{"code":"data_inspection_failed","message":"Output data may contain inappropriate content.","param":null,"type":"data_inspection_failed"}}

        choice
        data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"sim-chat","choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],"usage":null,"error":{"code":"data_inspection_failed","message":"Output data may contain inappropriate content.","param":null,"type":"data_inspection_failed"}}

        field
        error: {"error":{"code":"data_inspection_failed","message":"Output data may contain inappropriate content.","param":null,"type":"data_inspection_failed"}}

        finish
        data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"sim-chat","choices":[{"index":0,"delta":{"content":"Output data may contain inappropriate content."},"logprobs":null,"finish_reason":"error_finish"}],"usage":null}

        abort
        data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"sim-chat","choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"abort"}],"usage":null}

        data: [DONE]

        flat
        data: {"code":"Throttling","message":"Output data may contain inappropriate content."}

        flat_object
        data: {"code":400,"message":"Output data may contain inappropriate content.","object":"error","param":null,"type":"data_inspection_failed"}

        silent
        data: {"id":"chatcmpl-R","object":"chat.completion.chunk","created":1700000000,"model":"sim-chat","choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":null}],"usage":null}

    "#]].assert_eq(&all);
    // vLLM and SGLang end also what failed with the mark of the end.
    let text = chunks("sim-chat", "/sim text=\"a b\" error_after=1 spell=vllm");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
}

#[test]
fn the_syntax_of_events_can_be_another() {
    let good = chunks("sim-chat", "/sim text=a no_usage");
    let spelled = |switch: &str| chunks("sim-chat", &format!("/sim text=a no_usage {switch}"));
    assert_eq!(spelled("crlf").replace("\r\n", "\n"), good);
    assert_eq!(spelled("space_after_colon=0"), good.replace("data: ", "data:"));
    assert_eq!(format!("{}data: [DONE]\n\n", spelled("no_done")), good);
    assert!(
        spelled("garbage_after=1")
            .contains("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"br\n\n")
    );
    assert!(spelled("finish=tool_calls").contains("get_weather"));
    // There is no cumulative text.
    assert_eq!(spelled("mode=cumulative switch_mode_after=1"), good);
}

#[test]
fn wrong_requests_are_refused() {
    for (more, wanted) in [
        (json!({ "model": "" }), "400 invalid_request_error invalid_value: you must provide a model"),
        (
            json!({ "model": "sim-nobody" }),
            "404 invalid_request_error model_not_found: The model `sim-nobody`",
        ),
        (json!({ "messages": [] }), "400 invalid_request_error invalid_value: []"),
        (
            json!({ "messages": [{ "role": "robot", "content": "" }] }),
            "400 invalid_request_error invalid_value: Invalid value: \"robot\"",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": null }] }),
            "400 invalid_request_error invalid_value: Invalid value for 'content'",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "x" } }] }] }),
            "400 invalid_request_error invalid_value: Invalid content type",
        ),
        (json!({ "stream": false }), "400 invalid_request_error invalid_value: The 'stream_options'"),
        (
            json!({ "temperature": 2.1 }),
            "400 invalid_request_error invalid_value: Invalid value for 'temperature'",
        ),
        (json!({ "top_p": "all" }), "400 invalid_request_error invalid_value: Invalid value for 'top_p'"),
        (json!({ "max_tokens": 0 }), "400 invalid_request_error invalid_value: Invalid 'max_tokens'"),
        (
            json!({ "model": "sim-nocap", "max_completion_tokens": 9 }),
            "400 invalid_request_error unsupported_parameter: ",
        ),
    ] {
        let told = refused("sim-chat", "hi", more.clone());
        assert!(told.starts_with(wanted), "{more}: {told}");
    }
    let told = refused("sim-chat", "/sim spell=azure", json!({ "max_tokens": 9 }));
    assert!(told.contains("unsupported_parameter") && told.contains("'max_tokens' is not"), "{told}");
    let long = "word ".repeat(100_000);
    assert!(refused("sim-chat", &long, json!({})).contains("context_length_exceeded"));
}

#[test]
fn a_cap_counts_reasoning_and_text() {
    let capped = |message: &str, more: Value| {
        let plan = asked(&request("sim-chat", message, more)).expect("a plan");
        String::from_utf8(written(plan).0).expect("UTF-8")
    };
    for name in ["max_tokens", "max_completion_tokens"] {
        let text = capped("/sim tokens=9 think=2", json!({ name: 3 }));
        assert!(
            text.contains("\"finish_reason\":\"length\"") && text.contains("\"completion_tokens\":3"),
            "{text}"
        );
    }
    let text = capped("/sim tokens=9 spell=ollama", json!({ "max_completion_tokens": 3 }));
    assert!(text.contains("\"completion_tokens\":9"), "dropped without a word: {text}");
}

#[test]
fn reasoning_can_be_switched_in_every_services_way() {
    for (more, expected) in [
        (json!({}), true),
        (json!({ "enable_thinking": false }), false),
        (json!({ "chat_template_kwargs": { "enable_thinking": false } }), false),
        (json!({ "thinking": { "type": "disabled" } }), false),
        (json!({ "reasoning_effort": "none" }), false),
        (json!({ "reasoning_effort": "low" }), true),
    ] {
        let plan = asked(&request("sim-think", "hi", more.clone())).expect("a plan");
        let text = String::from_utf8(written(plan).0).expect("UTF-8");
        assert_eq!(text.contains("reasoning_content"), expected, "{more}");
    }
}

#[test]
fn a_prefix_is_continued_in_the_engines_way() {
    let messages = |spell: &str, last: Value| {
        let mut last = last;
        last["role"] = "assistant".into();
        json!({ "messages": [
            { "role": "user", "content": format!("/sim text=\"one two three\" spell={spell}") }, last,
        ] })
    };
    let words = |body: &Value| {
        let plan = asked(&request("sim-chat", "", body.clone())).expect("a plan");
        let text = String::from_utf8(written(plan).0).expect("UTF-8");
        let pieces = text.split("\"content\":\"").skip(1).filter_map(|part| part.split('"').next());
        pieces.collect::<String>()
    };
    let mut vllm = messages("vllm", json!({ "content": "one two" }));
    assert_eq!(words(&vllm), "one two three", "an answer that is finished");
    vllm["continue_final_message"] = true.into();
    for body in [
        vllm,
        messages("llamacpp", json!({ "content": "one two" })),
        messages("moonshot", json!({ "content": "one two", "partial": true })),
        messages("deepseek", json!({ "content": "one two", "prefix": true })),
    ] {
        assert_eq!(words(&body), " three", "{body}");
    }
    assert_eq!(words(&messages("azure", json!({ "content": "one two", "partial": true }))), "one two three");
    let mut body = messages("llamacpp", json!({ "content": "one two" }));
    assert!(refused("sim-noprefill", "", body.clone()).contains("continuing a partial"));
    let last = body["messages"][1].clone();
    body["messages"].as_array_mut().expect("a list").push(last);
    assert!(refused("sim-chat", "", body).contains("2 or more assistant messages"));
}

#[test]
fn a_plain_reply_is_one_object() {
    let plan =
        asked(&request("sim-chat", "/sim text=ok", json!({ "stream": false, "stream_options": null })));
    let Head::Fixed(fixed) = plan.expect("a plan").head else { panic!("a stream") };
    expect![[r#"{"id":"chatcmpl-R","object":"chat.completion","created":1700000000,"model":"sim-chat","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":0}}}"#]].assert_eq(&String::from_utf8_lossy(&fixed.body));
}
