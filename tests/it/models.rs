//! What clients choose: the model of a turn and its parameters.
use crate::harness::{Chats, Gateway, RawClient, TestClient, get_with, handshake, until};
use serde_json::{Value, json};
use tidegate::chat::{Absence, Allowed, Catalog, Model, Parameters, Range};

fn catalog() -> Catalog {
    let allowed = Allowed {
        temperature: Some(Range { min: 0.0, max: 1.99 }),
        top_p: true,
        max_tokens: Some(4096),
        thinking: true,
    };
    let chat = Model {
        title: "Chat".into(),
        aliases: Box::new(["gpt-4o-mini".into()]),
        context: Some(8192),
        allowed,
        defaults: Parameters { temperature: Some(0.5), ..Parameters::default() },
        system_prompt: Some("Be kind.".into()),
        ..Model::named("sim-chat")
    };
    Catalog::new(vec![Model::named("other"), chat]).with_default("sim-chat")
}

/// Conversations are kept, so that the gateway is not idle at the end.
async fn drain(mut gateway: Gateway) {
    until("no socket is left", async || gateway.app_state.lifecycle.sockets() == 0).await;
    assert_eq!(gateway.drain().await, tidegate::app::Ended::Drained);
}

async fn gateway() -> Gateway {
    let gateway = Gateway::spawn(|_| {}).await;
    gateway.app_state.models.replace(catalog());
    gateway
}

fn ask(request: &str, trigger: &str, body: &Value) -> Value {
    let message = json!({"id": request, "role": "user", "parts": [{"type": "text", "text": "hi"}]});
    json!({"type": "send", "requestId": request, "id": "c1", "trigger": trigger, "messages": [message], "body": body})
}

/// The frames of one request, to its end.
async fn frames(chats: &mut Chats, frame: &Value) -> Vec<Value> {
    chats.send_frame(frame).await;
    let mut frames = Vec::new();
    while !frames.last().is_some_and(|last: &Value| last["type"] == "end" || last["type"] == "error") {
        frames.push(chats.next().await);
    }
    frames
}

/// What the simulator was asked with the last request: model, parameters, first message.
fn asked(gateway: &Gateway) -> (Value, Value, Value) {
    let recorded = gateway.upstream().recorded();
    let body: Value = serde_json::from_str(&recorded.last().unwrap().body).unwrap();
    (body["model"].clone(), body["parameters"].clone(), body["input"]["messages"][0]["content"].clone())
}

#[tokio::test]
async fn a_turn_is_answered_by_the_model_and_with_the_parameters_that_its_message_names() {
    let gateway = gateway().await;
    let mut chats = Chats::connect(gateway.address).await;
    let first = frames(&mut chats, &ask("u1", "submit-message", &json!({"newer": [1]}))).await;
    assert_eq!(first[0]["chunk"]["messageMetadata"]["model"], "sim-chat");
    let set = json!({"result_format": "message", "incremental_output": true, "temperature": 0.5});
    assert_eq!(asked(&gateway), ("sim-chat".into(), set, "Be kind.".into()));
    let body = json!({"model": "gpt-4o-mini", "top_p": 0.95, "max_tokens": 20, "thinking": true});
    let again = frames(&mut chats, &ask("u1", "regenerate-message", &body)).await;
    assert_eq!(again[0]["chunk"]["messageMetadata"]["model"], "sim-chat", "{again:?}");
    let set = json!({"result_format": "message", "incremental_output": true, "enable_thinking": true,
        "temperature": 0.5, "top_p": 0.95, "max_tokens": 20});
    assert_eq!(asked(&gateway), ("sim-chat".into(), set, "Be kind.".into()));
    let path = "/api/chats/c1";
    let (_, _, body) = get_with(gateway.address, path, &[("cookie", &chats.cookie)]).await;
    let transcript: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(transcript["messages"][1]["metadata"], json!({"model": "sim-chat"}), "{transcript}");
    drop(chats);
    drain(gateway).await;
}

#[tokio::test]
async fn a_choice_that_is_not_allowed_is_refused_and_does_not_count_as_a_bad_frame() {
    let gateway = gateway().await;
    let mut chats = Chats::connect(gateway.address).await;
    let fixed = |mut body: Value| {
        body["model"] = "other".into();
        body
    };
    for (body, code, says) in [
        (
            json!({"model": "gone"}),
            "model_not_found",
            "This model is not offered. Choose another: other, sim-chat.",
        ),
        (json!({"model": 7}), "bad_parameter", "`body.model` must be a string."),
        (fixed(json!({"thinking": true})), "bad_parameter", "`body.thinking` cannot be set for this model."),
        (json!({"thinking": "on"}), "bad_parameter", "`body.thinking` must be true or false."),
        (json!({"temperature": "hot"}), "bad_parameter", "`body.temperature` must be a number."),
        (json!({"temperature": 2}), "bad_parameter", "`body.temperature` must be 0 to 1.99."),
        (json!({"temperature": 1e300}), "bad_parameter", "`body.temperature` must be 0 to 1.99."),
        (json!({"top_p": 0}), "bad_parameter", "`body.top_p` must be above 0 and at most 1."),
        (json!({"max_tokens": 1.5}), "bad_parameter", "`body.max_tokens` must be a whole number."),
        (json!({"max_tokens": -1}), "bad_parameter", "`body.max_tokens` must be a whole number."),
        (json!({"max_tokens": 4097}), "bad_parameter", "`body.max_tokens` must be 1 to 4096."),
    ] {
        let all = frames(&mut chats, &ask("u1", "submit-message", &body)).await;
        let error = &all[0];
        let seen = (error["type"].as_str(), error["code"].as_str(), error["errorText"].as_str());
        assert_eq!(seen, (Some("error"), Some(code), Some(says)), "{body}");
        assert_eq!(error["retryable"], false);
    }
    // No session was begun for any of them, and the socket is open.
    assert_eq!(gateway.app_state.registry.len(), 0);
    let answer = frames(&mut chats, &ask("u2", "submit-message", &json!({}))).await;
    assert_eq!(answer.last().unwrap()["type"], "end");
    drop(chats);
    drain(gateway).await;
}

#[tokio::test]
async fn a_model_that_vanished_is_refused_and_the_conversation_goes_on_with_another() {
    let gateway = gateway().await;
    let mut chats = Chats::connect(gateway.address).await;
    frames(&mut chats, &ask("u1", "submit-message", &json!({}))).await;
    gateway.app_state.models.replace(Catalog::of_one("sim-chat"));
    let refused = frames(&mut chats, &ask("u2", "submit-message", &json!({"model": "other"}))).await;
    assert_eq!(refused[0]["errorText"], "This model is not offered. Choose another: sim-chat.");
    frames(&mut chats, &ask("u2", "submit-message", &json!({}))).await;
    let recorded = gateway.upstream().recorded();
    let body: Value = serde_json::from_str(&recorded.last().unwrap().body).unwrap();
    assert_eq!(body["input"]["messages"].as_array().unwrap().len(), 3, "nothing is lost: {body}");
    drop(chats);
    drain(gateway).await;
}

#[tokio::test]
async fn without_models_a_question_is_told_why_and_may_be_asked_again() {
    let gateway = gateway().await;
    let mut chats = Chats::connect(gateway.address).await;
    let mut plain = TestClient::connect(&gateway.chat_url()).await;
    for (absence, code, says) in [
        (
            Absence::Unreachable,
            "upstream_unreachable",
            "The model service cannot be reached. Try again later.",
        ),
        (Absence::Nothing, "not_available", "The service is not available at the moment. Tell the operator."),
    ] {
        gateway.app_state.models.replace(Catalog::absent(absence));
        let error = frames(&mut chats, &ask("u1", "submit-message", &json!({}))).await.remove(0);
        assert_eq!((&error["code"], &error["errorText"]), (&json!(code), &json!(says)));
        plain.send_text("hi").await;
        plain.expect(&format!("Error: {says}")).await;
    }
    assert_eq!(gateway.get("/v1/models").await.1, r#"{"data":[],"object":"list"}"#);
    gateway.app_state.models.replace(catalog());
    let answer = frames(&mut chats, &ask("u1", "submit-message", &json!({}))).await;
    assert_eq!(answer.last().unwrap()["type"], "end");
    plain.close().await;
    drop(chats);
    drain(gateway).await;
}

#[tokio::test]
async fn the_address_of_a_plain_socket_names_its_model() {
    let gateway = gateway().await;
    let mut client = TestClient::connect(&format!("{}?model=gpt-4o-mini", gateway.chat_url())).await;
    client.send_text("/sim text=yes").await;
    client.expect("yes").await;
    assert_eq!(asked(&gateway).2, "Be kind.");
    for (address, says) in [
        (
            "/chat?model=gone ",
            r#"{"code":"model_not_found","message":"This model is not offered. Choose another: other, sim-chat."}"#,
        ),
        ("/chat?model= ", r#"{"code":"model_not_found""#),
        ("/chat?model=a&model=b ", "the address must name one model"),
    ] {
        let request = handshake(gateway.address, &[]).replace("/chat ", address);
        let response = RawClient::connect(gateway.address).await.answer(&request).await;
        assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
        assert!(response.contains(&format!("\r\n\r\n{says}")), "{response}");
    }
    assert_eq!(gateway.app_state.metrics.upgrades_rejected.get("model"), 2);
    // It goes while the socket is open.
    gateway.app_state.models.replace(Catalog::of_one("sim-chat"));
    client.send_text("/sim text=yes").await;
    client.expect("Error: This model is not offered. Choose another: sim-chat.").await;
    client.close().await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_models_are_listed_for_the_page_and_in_openais_form() {
    let gateway = gateway().await;
    let parameters = json!({"temperature": {"min": 0, "max": 1.99}, "top_p": {"min": 0, "max": 1},
        "max_tokens": {"max": 4096}, "thinking": ["on", "off"]});
    let config: Value = serde_json::from_str(&gateway.get("/api/config").await.1).unwrap();
    let expected = json!([
        {"id": "other", "title": "other", "default": false, "state": "ok", "parameters": {}, "continues": false},
        {"id": "sim-chat", "title": "Chat", "default": true, "state": "ok", "parameters": parameters, "continues": false},
    ]);
    assert_eq!(config["models"], expected);
    let list: Value = serde_json::from_str(&gateway.get("/v1/models").await.1).unwrap();
    let created = list["data"][0]["created"].as_u64().unwrap();
    assert!(created > 1_700_000_000, "{created}");
    let entry = |id: &str, tidegate: Value| json!({"id": id, "object": "model", "created": created, "owned_by": "tidegate", "tidegate": tidegate});
    let data = [
        entry("other", json!({"title": "other", "context": null, "parameters": {}})),
        entry("sim-chat", json!({"title": "Chat", "context": 8192, "parameters": parameters})),
    ];
    assert_eq!(list, json!({"object": "list", "data": data}));
    gateway.stop().await;
}
