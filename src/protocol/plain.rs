//! The plain wire format of `/chat`: each incoming text message is a user message; outgoing text messages are the pieces
//! of the answer, or `Error: …` when something went wrong. See `docs/PROTOCOL.md`.
use super::{ClientFrame, Incoming, Limits, Rejection, ServerFrame, Withdrawn};
use crate::chat::TextKind;

pub(super) fn decode(message: Incoming<'_>, limits: Limits) -> Result<ClientFrame, Rejection> {
    match message {
        Incoming::Text(text) => {
            let text = text.trim_end_matches(['\r', '\n']);
            super::incoming::check_message(text, limits)
                .map(|()| ClientFrame::Message { text: text.to_owned() })
        }
        Incoming::Binary => Err(Rejection::Binary),
    }
}

/// What was sent of the answer is not valid any more; this dialect has no other word for it.
const RESTARTED: &str = "Error: The connection to the model broke. The answer starts again.";

pub(super) fn encode(frame: &ServerFrame, mut send: impl FnMut(&str)) {
    match frame {
        ServerFrame::Text { kind: TextKind::Answer, text, .. } => send(text),
        ServerFrame::TurnEnd { end, .. } => {
            if let Err(error) = &end.outcome {
                send(&format!("Error: {}", error.client_text()));
            }
        }
        ServerFrame::Restarted { restart, .. } if restart.withdrawn == Withdrawn::Answer => send(RESTARTED),
        ServerFrame::Rejected { reason } => send(&format!("Error: {reason}")),
        // Not part of this wire format.
        ServerFrame::Accepted { .. }
        | ServerFrame::Resumed { .. }
        | ServerFrame::NoActive
        | ServerFrame::Waiting { .. }
        | ServerFrame::Pong
        | ServerFrame::Queued { .. }
        | ServerFrame::Retrying { .. }
        | ServerFrame::Moving { .. }
        | ServerFrame::Continued { .. }
        | ServerFrame::Restarted { .. }
        | ServerFrame::Text { kind: TextKind::Reasoning, .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, TurnEnd, TurnStart};
    use super::*;
    use crate::chat::{FinishReason, MessageId, RunError, RunErrorKind, RunId, Timing};
    use std::sync::Arc;

    const LIMITS: Limits = Limits { message_bytes: 100, client_system_prompt: false };

    fn encoded(frame: ServerFrame) -> Vec<String> {
        let mut out = Vec::new();
        Codec::Plain.encoder(None).encode(&frame, |text| out.push(text.to_owned()));
        out
    }

    #[test]
    fn a_text_message_is_a_user_message_without_its_trailing_newlines() {
        for (wire, text) in [("hi", "hi"), ("hi\n", "hi"), ("hi\r\n\n", "hi"), (" a\nb \n", " a\nb ")] {
            let frame = Codec::Plain.decode(Incoming::Text(wire), LIMITS);
            assert_eq!(frame, Ok(ClientFrame::Message { text: text.into() }), "{wire:?}");
        }
    }

    // faults: A12
    #[test]
    fn blank_and_oversized_messages_are_refused_and_odd_ones_pass_unchanged() {
        for blank in ["", " ", "\t\n", "\0", "\u{200b}\u{feff}", "\u{202e} \u{2060}", "\n\r\n"] {
            let refused = Codec::Plain.decode(Incoming::Text(blank), LIMITS);
            assert_eq!(refused.map_err(|e| e.reason), Err(Rejection::Empty), "{blank:?}");
        }
        let long = "x".repeat(101);
        let refused = Codec::Plain.decode(Incoming::Text(&long), LIMITS);
        assert_eq!(refused.map_err(|e| e.reason), Err(Rejection::TooLong { bytes: 101, limit: 100 }));
        let just = "x".repeat(100);
        assert!(Codec::Plain.decode(Incoming::Text(&just), LIMITS).is_ok(), "as long as it may be");
        let odd = "\u{feff}\0hi\u{202e}";
        let taken = Codec::Plain.decode(Incoming::Text(odd), LIMITS);
        assert_eq!(taken, Ok(ClientFrame::Message { text: odd.into() }));
    }

    // faults: A10
    #[test]
    fn a_binary_message_is_refused() {
        let refused = Codec::Plain.decode(Incoming::Binary, LIMITS);
        assert_eq!(refused.map_err(|e| e.reason), Err(Rejection::Binary));
        let frames = encoded(ServerFrame::Rejected { reason: Rejection::Binary });
        assert_eq!(frames, ["Error: Binary messages are not understood. Send text."]);
    }

    #[test]
    fn only_new_text_and_errors_are_written() {
        let run = RunId(1);
        let answer = MessageId::new("a").unwrap();
        let start =
            Arc::new(TurnStart { answer, model: Some("m".into()), omitted_turns: 0, continued_by: None });
        assert_eq!(
            encoded(ServerFrame::Text { kind: TextKind::Answer, entry: 1, text: "He".into() }),
            ["He"]
        );
        assert!(
            encoded(ServerFrame::Text { kind: TextKind::Reasoning, entry: 1, text: "hm".into() }).is_empty()
        );
        assert!(encoded(ServerFrame::Accepted { run, start }).is_empty());
        assert!(encoded(ServerFrame::Queued { run, position: 3 }).is_empty());
        let end = |outcome| ServerFrame::TurnEnd {
            run,
            end: Box::new(TurnEnd { outcome, usage: None, timing: Timing::default() }),
        };
        assert!(encoded(end(Ok(FinishReason::Stop))).is_empty());
        let mut error = RunError::new(RunErrorKind::RateLimited, "secret detail");
        error.request_id = Some("r-1".into());
        assert_eq!(
            encoded(end(Err(error))),
            ["Error: The model is busy. Try again in a moment. (request r-1)"]
        );
    }
}
