//! What is no frame of `/api/chat`, and too much of what is.
use crate::harness::{Chats, Gateway, PATIENCE, ask, until, within};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

async fn drain(mut gateway: Gateway) {
    until("no socket is left", async || gateway.app_state.lifecycle.sockets() == 0).await;
    assert_eq!(gateway.drain().await, tidegate::app::Ended::Drained);
}

/// Text of a frame, its request as far as it can be read, and the code of the answer.
fn unreadable() -> Vec<(String, &'static str, &'static str)> {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut frame = ask("r", "chat", "hello");
        change(&mut frame);
        frame.to_string()
    };
    let deep = format!(
        "{{\"type\":\"send\",\"requestId\":\"r\",\"messages\":{}1{}}}",
        "[".repeat(9_000),
        "]".repeat(9_000)
    );
    vec![
        ("not JSON".into(), "", "malformed"),
        ("[1,2]".into(), "", "malformed"),
        (json!({"requestId": "r"}).to_string(), "r", "malformed"),
        (json!({"type": "dance", "requestId": "r"}).to_string(), "r", "malformed"),
        (json!({"type": "send", "requestId": 7}).to_string(), "", "malformed"),
        (with(&|frame| frame["messages"] = json!("hello")), "r", "malformed"),
        (with(&|frame| frame["messages"] = json!([])), "r", "malformed"),
        (with(&|frame| frame["trigger"] = json!("begin")), "r", "malformed"),
        (with(&|frame| frame["messages"][0]["role"] = json!("robot")), "r", "malformed"),
        (with(&|frame| frame["messages"][0]["role"] = json!("system")), "r", "malformed"),
        (with(&|frame| frame["id"] = json!("../etc")), "r", "bad_id"),
        (with(&|frame| frame["id"] = json!("x".repeat(10_000))), "r", "bad_id"),
        (with(&|frame| frame["requestId"] = json!("a b")), "", "bad_id"),
        (
            json!({"type": "resume", "requestId": "r", "id": "chat", "lastSequence": -1}).to_string(),
            "r",
            "malformed",
        ),
        (
            json!({"type": "resume", "requestId": "r", "id": "chat", "lastSequence": 1.5}).to_string(),
            "r",
            "malformed",
        ),
        (r#"{"type":"resume","requestId":"r","id":"chat","lastSequence":1e999}"#.into(), "r", "malformed"),
        (r#"{"type":"abort","requestId":"\ud800"}"#.into(), "", "malformed"),
        (deep, "r", "malformed"),
    ]
}

// faults: A11, A28
#[tokio::test]
async fn what_is_no_frame_is_answered_and_the_tenth_closes() {
    let gateway = Gateway::spawn(|_| {}).await;
    let frames = unreadable();
    for group in frames.chunks(9) {
        let mut socket = Chats::connect(gateway.address).await;
        for (text, request, code) in group {
            socket.socket.send(Message::text(text.clone())).await.unwrap();
            let answer = socket.next().await;
            let shown: String = text.chars().take(80).collect();
            assert_eq!(
                (answer["type"].as_str(), answer["code"].as_str()),
                (Some("error"), Some(*code)),
                "{shown}"
            );
            assert_eq!(answer["requestId"], *request, "{shown}");
            let sentence = answer["errorText"].as_str().unwrap();
            assert!(
                sentence.len() > 20 && !sentence.contains("x".repeat(200).as_str()),
                "{shown}: {sentence}"
            );
        }
        // Nine are forgiven, and what was refused for another reason counts for nothing.
        for _ in 0..20 {
            socket.send_frame(&ask("blank", "chat", " ")).await;
            assert_eq!(socket.next().await["code"], "empty_message");
        }
        assert_eq!(socket.turn("good", "chat", "/sim text=fine").await.text, "fine");
        if group.len() == 9 {
            socket.socket.send(Message::text("and another")).await.unwrap();
            assert_eq!(socket.next().await["code"], "malformed");
            assert_eq!(socket.closed().await, 1008);
        }
    }
    drain(gateway).await;
}

// faults: A16
#[tokio::test]
async fn a_flood_of_requests_is_closed_and_others_do_not_feel_it() {
    let gateway = Gateway::spawn(|_| {}).await;
    let mut flooding = Chats::connect(gateway.address).await;
    let mut other = Chats::connect(gateway.address).await;
    let flood = async {
        for number in 0..1_000 {
            let frame = json!({"type": "resume", "requestId": format!("r{number}"), "id": "chat"});
            if flooding.socket.send(Message::text(frame.to_string())).await.is_err() {
                break;
            }
        }
        while let Some(frame) = flooding.try_next().await {
            assert_eq!(frame["type"], "no-active");
        }
    };
    let talk = async {
        for number in 0..5 {
            let answer =
                other.turn(&format!("r{number}"), "chat", "/sim text=fine pace_ms=0 first_ms=0").await;
            assert_eq!(answer.text, "fine");
        }
    };
    within("both are done", 2 * PATIENCE, async { tokio::join!(flood, talk) }).await;
    until("the flood is gone", async || gateway.app_state.lifecycle.sockets() == 1).await;
    let closed = gateway.app_state.metrics.connections_closed.get("too_many_frames");
    assert_eq!(closed, 1);
    // What was asked of nothing has made nothing.
    assert_eq!(gateway.app_state.registry.len(), 1);
    drop((flooding, other));
    drain(gateway).await;
}
