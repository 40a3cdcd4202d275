//! What is sent.
use super::*;
use crate::chat::{Parameters, PromptMessage, Role, TokenEstimate};
use expect_test::{Expect, expect};

fn request() -> RunRequest {
    let message = |role, text: &str| PromptMessage::new(role, text);
    RunRequest {
        model: "ours".into(),
        messages: vec![
            message(Role::System, "Be brief."),
            message(Role::User, "你好 \"there\"\n"),
            message(Role::Assistant, "Hello"),
            message(Role::User, "And?"),
        ],
        parameters: Parameters::default(),
        tokens: TokenEstimate::default(),
        omitted_turns: 0,
    }
}

fn sent(settings: Settings) -> String {
    let Outbound { path, headers, body } = Chat::new(settings).request("qwen3", &request());
    let headers = headers.iter().map(|header| format!("{}: {}\n", header.name, header.value));
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    format!("{path}\n{}\n{}\n", headers.collect::<String>(), serde_json::to_string(&body).unwrap())
}

fn check(settings: Settings, expected: &Expect) {
    expected.assert_eq(&sent(settings));
}

#[test]
fn only_what_was_set_is_sent() {
    check(
        settings("other"),
        &expect![[r#"
        /chat/completions
        content-type: application/json
        accept: text/event-stream
        accept-encoding: identity

        {"messages":[{"content":"Be brief.","role":"system"},{"content":"你好 \"there\"\n","role":"user"},{"content":"Hello","role":"assistant"},{"content":"And?","role":"user"}],"model":"qwen3","stream":true,"stream_options":{"include_usage":true}}
    "#]],
    );
    check(
        Settings { include_usage: false, ..settings("other") },
        &expect![[r#"
        /chat/completions
        content-type: application/json
        accept: text/event-stream
        accept-encoding: identity

        {"messages":[{"content":"Be brief.","role":"system"},{"content":"你好 \"there\"\n","role":"user"},{"content":"Hello","role":"assistant"},{"content":"And?","role":"user"}],"model":"qwen3","stream":true}
    "#]],
    );
}

#[test]
fn what_was_set_is_sent_in_the_fields_of_the_service() {
    for (service, fields) in [
        ("openai", r#""max_completion_tokens":100,"#),
        ("vllm", r#""max_tokens":100,"#),
        ("dashscope_compatible", r#""enable_thinking":false"#),
        ("openai", r#""reasoning_effort":"none""#),
        ("vllm", r#""chat_template_kwargs":{"enable_thinking":false}"#),
        ("deepseek", r#""thinking":{"type":"disabled"}"#),
    ] {
        let sent = sent(Settings { thinking: Some(false), max_tokens: Some(100), ..settings(service) });
        assert!(sent.contains(fields), "{service}: {sent}");
    }
    let on = sent(Settings { thinking: Some(true), ..settings("ollama") });
    assert!(on.contains(r#""reasoning_effort":"medium""#), "{on}");
    let none = sent(Settings { thinking: Some(true), ..settings("moonshot") });
    assert!(!none.contains("thinking"), "{none}");
}

#[test]
fn what_a_turn_sets_stands_over_the_settings() {
    let parameters =
        Parameters { temperature: Some(0.7), top_p: Some(0.95), max_tokens: Some(20), thinking: Some(true) };
    let settings = Settings { thinking: Some(false), max_tokens: Some(1000), ..settings("vllm") };
    let sent =
        Chat::new(settings).request("m", &RunRequest { parameters, messages: Vec::new(), ..request() });
    let sent: serde_json::Value = serde_json::from_slice(&sent.body).unwrap();
    expect![[r#"{"chat_template_kwargs":{"enable_thinking":true},"max_tokens":20,"messages":[],"model":"m","stream":true,"stream_options":{"include_usage":true},"temperature":0.7,"top_p":0.95}"#]]
        .assert_eq(&sent.to_string());
}

#[test]
fn headers_fields_and_the_version_of_an_azure_deployment() {
    check(
        Settings {
            api_version: Some("2026-05-01".to_owned()),
            headers: vec![Header::secret("openai-organization", "org-1")],
            extra: crate::upstream::json_fields::JsonFields::new(
                r#"{"provider": {"order": ["a", "b"]}, "top_k": 5}"#,
            )
            .unwrap()
            .into(),
            ..settings("azure")
        },
        &expect![[r#"
            /chat/completions?api-version=2026-05-01
            content-type: application/json
            accept: text/event-stream
            accept-encoding: identity
            openai-organization: org-1

            {"messages":[{"content":"Be brief.","role":"system"},{"content":"你好 \"there\"\n","role":"user"},{"content":"Hello","role":"assistant"},{"content":"And?","role":"user"}],"model":"qwen3","provider":{"order":["a","b"]},"stream":true,"stream_options":{"include_usage":true},"top_k":5}
        "#]],
    );
}

#[test]
fn settings_do_not_show_the_values_of_headers() {
    let settings = Settings { headers: vec![Header::secret("x-secret", "CANARY")], ..settings("other") };
    assert!(!format!("{settings:?} {:?}", Chat::new(settings.clone())).contains("CANARY"));
}

/// Once refused, the field is not sent to that model again.
#[test]
fn a_model_that_refuses_the_newer_field_is_sent_the_older_one() {
    let chat = Chat::new(Settings { max_tokens: Some(9), ..settings("openai") });
    let field = |model: &str| {
        let body = chat.request(model, &request()).body;
        ["max_tokens", "max_completion_tokens"]
            .into_iter()
            .find(|field| String::from_utf8_lossy(&body).contains(&format!("\"{field}\":9")))
    };
    let refuse = |model: &str, status, body: &str| {
        let mut reader = chat.reader(Head { status, ..JSON }, LIMITS);
        reader.feed(body.as_bytes(), &mut Vec::new()).unwrap();
        let error = reader.end(&mut Vec::new()).outcome.unwrap_err();
        (error.retry, chat.learn(model, &reader))
    };
    let refusal = r#"{"error":{"message":"Unsupported parameter: 'max_completion_tokens'","type":"invalid_request_error","param":"max_completion_tokens","code":"unsupported_parameter"}}"#;
    let other =
        r#"{"error":{"message":"Unsupported value","param":"temperature","code":"unsupported_value"}}"#;
    assert_eq!(refuse("a", 400, other), (crate::chat::Retry::No, None));
    assert_eq!(field("a"), Some("max_completion_tokens"));
    let (retry, warning) = refuse("a", 400, refusal);
    assert_eq!(retry, crate::chat::Retry::Once);
    assert!(warning.unwrap().contains("max_tokens"));
    assert_eq!((field("a"), field("b")), (Some("max_tokens"), Some("max_completion_tokens")));
    assert_eq!(refuse("a", 400, refusal).1, None, "warned once");
    let forbidden = r#"{"detail":[{"type":"extra_forbidden","loc":["body","max_completion_tokens"],"msg":"Extra inputs are not permitted"}]}"#;
    assert!(refuse("b", 422, forbidden).1.is_some());
    // Too large a number is not the field's fault.
    let large = r#"{"error":{"message":"'max_tokens' or 'max_completion_tokens' is too large: 9000","code":400,"param":"max_tokens"}}"#;
    assert_eq!(refuse("c", 400, large), (crate::chat::Retry::No, None));
    let Chat { refusing, .. } = &chat;
    for number in 0..2 * REFUSING_MAX {
        refuse(&format!("m{number}"), 400, refusal);
    }
    assert_eq!(refusing.lock().unwrap().len(), REFUSING_MAX);
}

/// What is added to ask for the rest of an answer.
#[test]
fn the_beginning_of_an_answer_is_marked_as_the_service_needs_it() {
    let mut out = String::new();
    for service in ["other", "dashscope_compatible", "vllm", "llamacpp", "deepseek", "moonshot"] {
        let request = RunRequest { messages: request().messages[1..2].to_vec(), ..request() };
        let Outbound { path, body, .. } =
            Chat::new(settings(service)).request("m", &request.continued("A tide \n"));
        let mut body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let last = body["messages"][1].take();
        body.as_object_mut()
            .unwrap()
            .retain(|name, _| !["messages", "model", "stream", "stream_options"].contains(&name.as_str()));
        writeln!(out, "{service}: {path} {last} {body}").unwrap();
    }
    expect![[r#"
        other: /chat/completions {"content":"A tide","role":"assistant"} {}
        dashscope_compatible: /chat/completions {"content":"A tide","partial":true,"role":"assistant"} {"enable_thinking":false}
        vllm: /chat/completions {"content":"A tide","role":"assistant"} {"add_generation_prompt":false,"chat_template_kwargs":{"enable_thinking":false},"continue_final_message":true}
        llamacpp: /chat/completions {"content":"A tide","role":"assistant"} {"chat_template_kwargs":{"enable_thinking":false}}
        deepseek: /beta/chat/completions {"content":"A tide","prefix":true,"role":"assistant"} {"thinking":{"type":"disabled"}}
        moonshot: /chat/completions {"content":"A tide","partial":true,"role":"assistant"} {}
    "#]].assert_eq(&out);
    let ordinary = sent(settings("deepseek"));
    assert!(ordinary.starts_with("/chat/completions\n") && !ordinary.contains("prefix"), "{ordinary}");
}
