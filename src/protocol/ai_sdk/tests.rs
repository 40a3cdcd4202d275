//! Frames of both directions, compared with examples that the SDK's own schemas also read (see `tests/sdk`).
mod cuts;
mod server;

use crate::{
    chat::{Choice, Parameters, TurnKind, TurnRequest},
    protocol::{ClientFrame, Codec, DecodeError, Incoming, Limits, Rejection},
};
use serde_json::Value;

const LIMITS: Limits = Limits { message_bytes: 100, client_system_prompt: false };

fn decode(text: &str) -> Result<ClientFrame, DecodeError> {
    Codec::AiSdk.decode(Incoming::Text(text), LIMITS)
}

/// A decoded frame, in one line.
fn summary(frame: &ClientFrame) -> String {
    match frame {
        ClientFrame::Message { .. } => "a message of another dialect".to_owned(),
        ClientFrame::Ask { request, chat, turn, choice } => {
            let TurnRequest { kind, message, transcript } = &**turn;
            let kind = match kind {
                TurnKind::Submit => "submit".to_owned(),
                TurnKind::Edit { replaces } => format!("edit {replaces}"),
                TurnKind::Regenerate { answer: None } => "regenerate".to_owned(),
                TurnKind::Regenerate { answer: Some(answer) } => format!("regenerate {answer}"),
            };
            let past: Vec<_> = transcript
                .iter()
                .map(|past| format!("{} {} {:?}", past.role.as_str(), past.id, past.text))
                .collect();
            let (id, text) = (&message.id, &message.text);
            let Choice { model, parameters: Parameters { temperature, top_p, max_tokens, thinking } } =
                choice;
            let set = [
                model.as_ref().map(|model| format!(" by {model}")),
                temperature.map(|value| format!(" temperature={value}")),
                top_p.map(|value| format!(" top_p={value}")),
                max_tokens.map(|value| format!(" max_tokens={value}")),
                thinking.map(|value| format!(" thinking={value}")),
            ];
            let set: String = set.into_iter().flatten().collect();
            format!("{request} {chat} {kind}: {id} {text:?} after [{}]{set}", past.join(", "))
        }
        ClientFrame::Resume { request, chat, turn, after } => {
            let turn = turn.as_ref().map_or(String::new(), |turn| format!(" {turn}"));
            let run = after.and_then(|after| after.run).map_or(String::new(), |run| format!(" of run {run}"));
            let after = after.map(|after| after.number);
            format!("{request} {chat} resume{turn} after {after:?}{run}")
        }
        ClientFrame::Continue { request, chat, answer, choice } => {
            let model = choice.model.as_ref().map_or(String::new(), |model| format!(" by {model}"));
            format!("{request} {chat} continue {answer}{model}")
        }
        ClientFrame::Abort { request } => format!("{request} abort"),
        ClientFrame::Ping { request } => format!("ping {request:?}"),
    }
}

fn fixture(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

#[test]
fn good_frames_are_understood() {
    let good = fixture(include_str!("../../../tests/fixtures/ai_sdk/client_good.json"));
    assert!(good.len() > 10);
    for case in good {
        let frame = decode(&case["frame"].to_string()).map(|frame| summary(&frame));
        assert_eq!(frame.as_deref(), Ok(case["decoded"].as_str().unwrap()), "{}", case["name"]);
    }
}

// faults: A11, A28
#[test]
fn a_bad_frame_is_answered_for_its_request_with_the_field_that_is_wrong() {
    let bad = fixture(include_str!("../../../tests/fixtures/ai_sdk/client_bad.json"));
    assert!(bad.len() > 40);
    for case in bad {
        let text = case["text"].as_str().map_or_else(|| case["frame"].to_string(), str::to_owned);
        let DecodeError { request, reason } = decode(&text).expect_err(&text);
        let error = (request.as_ref().map(|name| name.as_str()), reason.code(), reason.to_string());
        let right =
            (case["request"].as_str(), case["code"].as_str().unwrap(), case["says"].as_str().unwrap());
        assert_eq!((error.0, error.1, error.2.as_str()), right, "{text}");
    }
}

// faults: A10, A11, A28
#[test]
fn what_is_huge_or_deep_is_answered_too() {
    let refused = |text: &str| {
        let DecodeError { request, reason } = decode(text).unwrap_err();
        (request.map(|name| name.to_string()), reason)
    };
    let malformed = |field, fault| Rejection::Malformed { field, fault };
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(refused(&deep), (None, malformed("frame", "must be a JSON object")));
    for (field, must) in [("id", "must be a string"), ("messages", "must be a list")] {
        let deep = format!("{}{}", "{\"a\":".repeat(10_000), "1".to_owned() + &"}".repeat(10_000));
        let frame = format!("{{\"{field}\":{deep},\"type\":\"send\",\"requestId\":\"r1\"}}");
        assert_eq!(refused(&frame), (Some("r1".to_owned()), malformed(field, must)));
    }
    // The depth of an ignored field does not matter.
    let ignored = format!("{{\"metadata\":{deep},\"type\":\"abort\",\"requestId\":\"r1\"}}");
    assert_eq!(decode(&ignored).map(|frame| summary(&frame)).as_deref(), Ok("r1 abort"));
    for (field, request) in [("requestId", None), ("id", Some("r1".to_owned()))] {
        let mut frame = serde_json::json!({"type": "resume", "requestId": "r1", "id": "c1"});
        frame[field] = "x".repeat(10_000_000).into();
        let (named, reason) = refused(&frame.to_string());
        assert_eq!((named, reason.code()), (request, "bad_id"));
        assert!(reason.to_string().len() < 200, "it is not sent back");
    }
    let binary = Codec::AiSdk.decode(Incoming::Binary, LIMITS);
    assert_eq!(binary, Err(DecodeError { request: None, reason: Rejection::Binary }));
}

#[test]
fn a_transcript_of_ten_thousand_messages_is_read() {
    let messages: Vec<_> = (0..10_001)
        .map(|at| {
            let role = if at % 2 == 0 { "user" } else { "assistant" };
            serde_json::json!({"id": format!("m{at}"), "role": role, "parts": [{"type": "text", "text": "潮 \n"}]})
        })
        .collect();
    let frame = serde_json::json!({"type": "send", "requestId": "r1", "id": "c1", "trigger": "submit-message",
        "messages": messages});
    let Ok(ClientFrame::Ask { turn, .. }) = decode(&frame.to_string()) else { panic!("not understood") };
    assert_eq!((turn.transcript.len(), turn.message.id.as_str()), (10_000, "m10000"));
    assert!(turn.transcript.iter().all(|past| past.text.as_str() == "潮 \n"));
}

#[test]
fn a_message_of_the_system_is_taken_where_that_is_allowed() {
    let bad = fixture(include_str!("../../../tests/fixtures/ai_sdk/client_bad.json"));
    let case = bad.iter().find(|case| case["name"] == "a message of the system").unwrap();
    let limits = Limits { client_system_prompt: true, ..LIMITS };
    let frame = Codec::AiSdk.decode(Incoming::Text(&case["frame"].to_string()), limits);
    let summary = frame.map(|frame| summary(&frame));
    assert_eq!(summary.as_deref(), Ok("r1 c1 submit: m1 \"hi\" after [system s1 \"Be brief.\"]"));
}
