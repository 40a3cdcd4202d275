//! What is sent.
use super::*;
use crate::chat::{Parameters, PromptMessage, Role, RunRequest, TokenEstimate};
use expect_test::expect;

fn request() -> RunRequest {
    RunRequest {
        model: "what clients call it".into(),
        parameters: Parameters::default(),
        tokens: TokenEstimate::default(),
        omitted_turns: 0,
        messages: vec![
            PromptMessage::new(Role::System, "Be brief."),
            PromptMessage::new(Role::User, "你好 \"you\"\n"),
            PromptMessage::new(Role::Assistant, ""),
            PromptMessage::new(Role::User, "\u{0}</script>"),
        ],
    }
}

fn sent(settings: &Settings, model: &str) -> String {
    let Outbound { path, headers, body } = DashScope::new(settings.clone()).request(model, &request());
    let headers = headers.iter().map(|header| format!("{}: {}\n", header.name, header.value));
    format!("{path}\n{}\n{}\n", headers.collect::<String>(), str::from_utf8(&body).unwrap())
}

#[test]
fn text_generation() {
    expect![[r#"
        /services/aigc/text-generation/generation
        content-type: application/json
        accept: text/event-stream
        accept-encoding: identity
        x-dashscope-sse: enable

        {"model":"qwen-plus","input":{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"你好 \"you\"\n"},{"role":"assistant","content":""},{"role":"user","content":"\u0000</script>"}]},"parameters":{"result_format":"message","incremental_output":true}}
    "#]]
    .assert_eq(&sent(&settings(true), "qwen-plus"));
}

#[test]
fn multimodal_generation_with_everything_set() {
    let settings = Settings {
        thinking: Some(true),
        max_tokens: Some(1000),
        workspace: Some("ws-1".to_owned()),
        ..settings(false)
    };
    expect![[r#"
        /services/aigc/multimodal-generation/generation
        content-type: application/json
        accept: text/event-stream
        accept-encoding: identity
        x-dashscope-sse: enable
        x-dashscope-workspace: ws-1

        {"model":"qwen3.5-plus","input":{"messages":[{"role":"system","content":[{"text":"Be brief."}]},{"role":"user","content":[{"text":"你好 \"you\"\n"}]},{"role":"assistant","content":[{"text":""}]},{"role":"user","content":[{"text":"\u0000</script>"}]}]},"parameters":{"result_format":"message","incremental_output":true,"enable_thinking":true,"max_tokens":1000}}
    "#]]
    .assert_eq(&sent(&settings, "qwen3.5-plus"));
}

#[test]
fn the_mode_is_always_sent() {
    let parameters = |settings: Settings| {
        let sent: serde_json::Value =
            serde_json::from_slice(&body::body(&settings, "m", &request())).unwrap();
        (sent["parameters"]["incremental_output"].clone(), sent["parameters"]["enable_thinking"].clone())
    };
    assert_eq!(parameters(settings(false)), (false.into(), ().into()));
    assert_eq!(
        parameters(Settings { thinking: Some(false), ..settings(false) }),
        (false.into(), false.into())
    );
    assert_eq!(parameters(Settings { thinking: Some(true), ..settings(false) }), (true.into(), true.into()));
}

#[test]
fn what_a_turn_sets_stands_over_the_settings() {
    let parameters =
        Parameters { temperature: Some(0.7), top_p: Some(0.95), max_tokens: Some(20), thinking: Some(true) };
    let settings = Settings { thinking: Some(false), max_tokens: Some(1000), ..settings(false) };
    let body = body::body(&settings, "m", &RunRequest { parameters, ..request() });
    let sent: serde_json::Value = serde_json::from_slice(&body).unwrap();
    expect![[r#"{"enable_thinking":true,"incremental_output":true,"max_tokens":20,"result_format":"message","temperature":0.7,"top_p":0.95}"#]]
    .assert_eq(&sent["parameters"].to_string());
    assert!(settings.is_incremental(&parameters) && !settings.is_incremental(&Parameters::default()));
}

#[test]
fn the_endpoint_by_the_models_family() {
    let multimodal = |model: &str, endpoint| Settings { endpoint, ..settings(true) }.is_multimodal(model);
    for model in [
        "qwen-vl-plus",
        "qwen-vl-max-latest",
        "qwen3-vl-plus",
        "qwen2.5-vl-72b-instruct",
        "QVQ-max",
        "qwen3.5-plus",
        "qwen3.6-plus",
        "qwen3.7-plus-2026-05-01",
    ] {
        assert!(multimodal(model, Endpoint::Auto), "{model}");
        assert!(!multimodal(model, Endpoint::Text));
    }
    for model in [
        "qwen-plus",
        "qwen-max",
        "qwen-turbo",
        "qwen-flash",
        "qwen3-max",
        "qwen3-32b",
        "deepseek-v4",
        "qwq-plus",
        "qwen2.5-7b-instruct",
        "qwen3.x-plus",
        "qwen3.5",
        "evl-1",
        "",
    ] {
        assert!(!multimodal(model, Endpoint::Auto), "{model}");
        assert!(multimodal(model, Endpoint::Multimodal));
    }
}

#[test]
fn the_beginning_of_an_answer_is_marked_and_not_reasoned_about() {
    let request = RunRequest { messages: request().messages[1..2].to_vec(), ..request() };
    let sent = |settings: &Settings, model| {
        String::from_utf8(body::body(settings, model, &request.clone().continued("潮水 "))).unwrap()
    };
    expect![[r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"你好 \"you\"\n"},{"role":"assistant","content":"潮水","partial":true}]},"parameters":{"result_format":"message","incremental_output":true,"enable_thinking":false}}"#]].assert_eq(&sent(&settings(true), "qwen-plus"));
    expect![[r#"{"model":"qwen3.5-plus","input":{"messages":[{"role":"user","content":[{"text":"你好 \"you\"\n"}]},{"role":"assistant","content":[{"text":"潮水"}],"partial":true}]},"parameters":{"result_format":"message","incremental_output":true,"enable_thinking":false}}"#]].assert_eq(&sent(&settings(true), "qwen3.5-plus"));
    let not = sent(&Settings { continues: false, ..settings(true) }, "qwen-plus");
    assert!(!not.contains("partial"), "{not}");
}
