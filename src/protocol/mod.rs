//! The words between gateway and client; each spelling of them is one file.
pub mod ai_sdk;
pub mod close;
pub mod place;
pub mod plain;
pub mod rejection;

pub use close::Close;
pub use place::{Kind, Place};
pub use rejection::Rejection;

use crate::chat::{Ask, ChatId, FinishReason, MessageId, RequestId, RunError, RunId, Timing, Usage};
use std::{sync::Arc, time::Duration};

/// What a client says.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientFrame {
    /// A user message for the one conversation of this socket, as it is to enter the history: not
    /// blank, within the limit.
    Message { text: String },
    /// A question in one of the client's chats.
    Ask { request: RequestId, chat: ChatId, ask: Box<Ask> },
    /// Follow the newest turn of a chat: all of it, or what comes after number `after` (see [`Place`]);
    /// with `turn` only if it has this question or this answer.
    Resume { request: RequestId, chat: ChatId, turn: Option<MessageId>, after: Option<u32> },
    /// Stop the answer that this request began or follows, or take the question back while it waits.
    Abort { request: RequestId },
    /// Answered with [`ServerFrame::Pong`] by the connection itself.
    Ping { request: Option<RequestId> },
}

/// A message that was not understood: why, and which request it was, where that much was readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misunderstood {
    pub request: Option<RequestId>,
    pub reason: Rejection,
}

/// What a client is told. A session sends the same words in every dialect; a dialect may have
/// no spelling for some of them.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerFrame {
    /// A message was taken and its run was started: number one of a turn's log.
    Accepted { run: RunId, opening: Arc<Opening> },
    /// The first word to a reader that follows an answer from `place` on.
    Resumed { place: Box<Place> },
    /// There is no answer to follow. The last word to this reader.
    NoActive,
    /// The message waits behind the answer of its own chat; `place` counts from 1.
    Waiting { place: u32 },
    /// The run waits for a slot; `place` counts from 1.
    Queued { run: RunId, place: u32 },
    /// An attempt failed before any text; another one follows.
    Retrying { run: RunId, attempt: u32, after: Duration },
    /// Thinking: everything up to entry number `entry` of the replay log that was not yet told.
    Reasoning { entry: u32, text: String },
    /// Answer text, likewise.
    Delta { entry: u32, text: String },
    /// The end of what [`ServerFrame::Accepted`] began; exactly one. The last word to a reader that
    /// follows one answer.
    TurnEnd { run: RunId, end: Box<TurnEnd> },
    /// A message was not taken; nothing else changed. The last word to a reader that follows one answer.
    Rejected { reason: Rejection },
    /// The answer to [`ClientFrame::Ping`].
    Pong,
}

/// What is known when a turn begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    /// Names the answer; the same in every replay.
    pub answer: MessageId,
    pub model: Arc<str>,
    /// Turns of the conversation that the model is not given.
    pub omitted_turns: usize,
}

impl ServerFrame {
    /// Bytes of answer or thinking in it.
    pub fn text_bytes(&self) -> usize {
        match self {
            ServerFrame::Delta { text, .. } | ServerFrame::Reasoning { text, .. } => text.len(),
            ServerFrame::Accepted { .. }
            | ServerFrame::Resumed { .. }
            | ServerFrame::NoActive
            | ServerFrame::Waiting { .. }
            | ServerFrame::Queued { .. }
            | ServerFrame::Retrying { .. }
            | ServerFrame::TurnEnd { .. }
            | ServerFrame::Rejected { .. }
            | ServerFrame::Pong => 0,
        }
    }
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnEnd {
    pub outcome: Result<FinishReason, RunError>,
    pub usage: Option<Usage>,
    pub timing: Timing,
}

/// What a client may say.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a user message.
    pub message_bytes: usize,
    /// Whether a client's transcript may hold messages of the system.
    pub client_system_prompt: bool,
}

/// A user message that says something and is not too long.
fn check_message(text: &str, limits: Limits) -> Result<(), Rejection> {
    if text.len() > limits.message_bytes {
        return Err(Rejection::TooLong { bytes: text.len(), limit: limits.message_bytes });
    }
    if is_blank(text) {
        return Err(Rejection::Empty);
    }
    Ok(())
}

/// Nothing that a person could see: blanks, control and zero-width characters alone.
fn is_blank(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    })
}

/// One whole WebSocket message from a client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Incoming<'a> {
    Text(&'a str),
    Binary,
}

/// The spelling that a route speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// `/chat`: text in, text out.
    Plain,
    /// `/api/chat`: JSON frames of the AI SDK's WebSocket transport.
    AiSdk,
}

impl Codec {
    /// Reads one message. An error is told to the client and changes nothing.
    pub fn decode(self, message: Incoming<'_>, limits: Limits) -> Result<ClientFrame, Misunderstood> {
        match self {
            Codec::Plain => {
                plain::decode(message, limits).map_err(|reason| Misunderstood { request: None, reason })
            }
            Codec::AiSdk => ai_sdk::decode(message, limits),
        }
    }

    /// What spells the words to one reader: to a whole connection, or to one request on it.
    pub fn speller(self, request: Option<&RequestId>) -> Speller {
        match self {
            Codec::Plain => Speller::Plain,
            Codec::AiSdk => Speller::AiSdk(Box::new(ai_sdk::Speller::new(request))),
        }
    }
}

/// Spells the words to one reader, in order: what it says next may depend on what it has said.
#[derive(Clone, Debug)]
pub enum Speller {
    Plain,
    AiSdk(Box<ai_sdk::Speller>),
}

/// What a speller has said, to come back to when a word was spelled but not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(ai_sdk::Mark);

impl Speller {
    /// Spells one frame as any number of text messages, each given to `send`.
    pub fn spell(&mut self, frame: &ServerFrame, send: impl FnMut(&str)) {
        match self {
            Speller::Plain => plain::encode(frame, send),
            Speller::AiSdk(speller) => speller.spell(frame, send),
        }
    }

    pub fn mark(&self) -> Mark {
        match self {
            Speller::Plain => Mark(ai_sdk::Mark::default()),
            Speller::AiSdk(speller) => Mark(speller.mark()),
        }
    }

    /// Forgets what was spelled since `mark`.
    pub fn reset(&mut self, mark: Mark) {
        match self {
            Speller::Plain => {}
            Speller::AiSdk(speller) => speller.reset(mark.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_counts_as_text() {
        let text = "水".to_owned();
        assert_eq!(ServerFrame::Delta { entry: 1, text: text.clone() }.text_bytes(), 3);
        assert_eq!(ServerFrame::Reasoning { entry: 1, text }.text_bytes(), 3);
        assert_eq!(ServerFrame::Queued { run: RunId(1), place: 9 }.text_bytes(), 0);
    }
}
