//! The plain dialect of `/chat`: a text message in is a user message, text messages out are the
//! answer as it grows, and `Error: …` is everything that went wrong. See `docs/PROTOCOL.md`.
use super::{ClientFrame, Incoming, Refusal, ServerFrame};

pub(super) fn decode(message: Incoming<'_>) -> Result<ClientFrame, Refusal> {
    match message {
        Incoming::Text(text) => {
            Ok(ClientFrame::Message { text: text.trim_end_matches(['\r', '\n']).to_owned() })
        }
        Incoming::Binary => Err(Refusal::Binary),
    }
}

pub(super) fn encode(frame: &ServerFrame, mut send: impl FnMut(&str)) {
    match frame {
        ServerFrame::Delta { text, .. } => send(text),
        ServerFrame::TurnEnd { end, .. } => {
            if let Err(error) = &end.outcome {
                send(&format!("Error: {}", error.client_text()));
            }
        }
        ServerFrame::Refused { reason } => send(&format!("Error: {reason}")),
        // The old page has no place for these.
        ServerFrame::Accepted { .. }
        | ServerFrame::Queued { .. }
        | ServerFrame::Retrying { .. }
        | ServerFrame::Reasoning { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, TurnEnd};
    use super::*;
    use crate::chat::{FinishReason, RunError, RunErrorKind, RunId};

    fn spelled(frame: ServerFrame) -> Vec<String> {
        let mut out = Vec::new();
        Codec::Plain.encode(&frame, |text| out.push(text.to_owned()));
        out
    }

    #[test]
    fn a_text_message_is_a_user_message_without_its_trailing_newlines() {
        for (wire, text) in
            [("hi", "hi"), ("hi\n", "hi"), ("hi\r\n\n", "hi"), (" a\nb \n", " a\nb "), ("\n", "")]
        {
            let frame = Codec::Plain.decode(Incoming::Text(wire));
            assert_eq!(frame, Ok(ClientFrame::Message { text: text.into() }), "{wire:?}");
        }
    }

    // faults: A10
    #[test]
    fn a_binary_message_is_refused() {
        assert_eq!(Codec::Plain.decode(Incoming::Binary), Err(Refusal::Binary));
        let told = spelled(ServerFrame::Refused { reason: Refusal::Binary });
        assert_eq!(told, ["Error: Binary messages are not understood. Send text."]);
    }

    #[test]
    fn only_new_text_and_errors_are_written() {
        let run = RunId(1);
        assert_eq!(spelled(ServerFrame::Delta { entry: 1, text: "He".into() }), ["He"]);
        assert!(spelled(ServerFrame::Reasoning { entry: 1, text: "hm".into() }).is_empty());
        assert!(spelled(ServerFrame::Accepted { run }).is_empty());
        assert!(spelled(ServerFrame::Queued { run, place: 3 }).is_empty());
        let end = |outcome| ServerFrame::TurnEnd { run, end: Box::new(TurnEnd { outcome, usage: None }) };
        assert!(spelled(end(Ok(FinishReason::Stop))).is_empty());
        let mut error = RunError::new(RunErrorKind::RateLimited, "secret detail");
        error.request_id = Some("r-1".into());
        assert_eq!(
            spelled(end(Err(error))),
            ["Error: The model is busy. Try again in a moment. (request r-1)"]
        );
    }
}
