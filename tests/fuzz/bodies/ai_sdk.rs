//! Frames of a client of `/api/chat`: any text is understood or refused in a short sentence, for its request where
//! that can be read, and what is understood keeps the rules.
use tidegate::protocol::{ClientFrame, Codec, DecodeError, Incoming, Limits};

const MESSAGE_BYTES: usize = 64;

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let limits = Limits { message_bytes: MESSAGE_BYTES, client_system_prompt: data.len().is_multiple_of(2) };
    match Codec::AiSdk.decode(Incoming::Text(&text), limits) {
        Ok(frame) => {
            let whole = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            assert!(whole.is_ok(), "no JSON: {text}");
            check_understood(&frame, text.len());
        }
        Err(DecodeError { request, reason }) => {
            assert!(reason.to_string().len() < 250, "a short sentence");
            // Where the name stands once, and a plain reader finds a good one, it is found.
            let value = serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default();
            let name = value["requestId"].as_str().filter(|_| text.matches("requestId").count() == 1);
            let is_plain = |name: &str| {
                (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
            };
            if let Some(name) = name.filter(|name| is_plain(name)) {
                assert_eq!(request.as_ref().map(|request| request.as_str()), Some(name), "{text}");
            }
        }
    }
}

fn check_understood(frame: &ClientFrame, bytes: usize) {
    let ClientFrame::Ask { turn, .. } = frame else { return };
    assert!(turn.message.text.len() <= MESSAGE_BYTES && !turn.message.text.trim().is_empty());
    let past: usize = turn.transcript.iter().map(|past| past.text.len()).sum();
    assert!(past + turn.message.text.len() <= bytes, "more text than came");
    assert!(turn.transcript.iter().all(|past| !past.text.trim().is_empty()));
}
