//! The words between gateway and client; each spelling of them is one file.
pub mod close;
pub mod plain;

pub use close::Close;

use crate::chat::{FinishReason, RunError, RunId, Usage};
use std::fmt;

/// What a client says.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientFrame {
    /// A user message, as it is to enter the history: not blank, within the limit.
    Message { text: String },
}

/// What a client is told. A session sends the same words in every dialect; a dialect may have
/// no spelling for some of them.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerFrame {
    /// A message was taken and its run was started.
    Accepted { run: RunId },
    /// The run waits for a slot; `place` counts from 1.
    Queued { run: RunId, place: u32 },
    /// An attempt failed before any text; another one follows.
    Retrying { run: RunId, attempt: u32 },
    /// Thinking: everything up to entry number `entry` of the replay log that was not yet told.
    Reasoning { entry: u32, text: String },
    /// Answer text, likewise.
    Delta { entry: u32, text: String },
    /// The end of what [`ServerFrame::Accepted`] began; exactly one.
    TurnEnd { run: RunId, end: Box<TurnEnd> },
    /// A message was not taken; nothing else changed.
    Refused { reason: Refusal },
}

impl ServerFrame {
    /// Bytes of answer or thinking in it.
    pub fn text_bytes(&self) -> usize {
        match self {
            ServerFrame::Delta { text, .. } | ServerFrame::Reasoning { text, .. } => text.len(),
            ServerFrame::Accepted { .. }
            | ServerFrame::Queued { .. }
            | ServerFrame::Retrying { .. }
            | ServerFrame::TurnEnd { .. }
            | ServerFrame::Refused { .. } => 0,
        }
    }
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnEnd {
    pub outcome: Result<FinishReason, RunError>,
    pub usage: Option<Usage>,
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing in it that can be seen.
    Empty,
    /// Longer than `limit` bytes.
    TooLong { bytes: usize, limit: usize },
    /// Not text.
    Binary,
    /// As many messages are waiting as may.
    QueueFull { limit: usize },
    /// The gateway is stopping.
    Draining,
}

impl Refusal {
    /// The stable name on wires, in logs and in metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Empty => "empty_message",
            Refusal::TooLong { .. } => "message_too_long",
            Refusal::Binary => "binary_message",
            Refusal::QueueFull { .. } => "queue_full",
            Refusal::Draining => "draining",
        }
    }
}

/// The sentence for a person.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Empty => f.write_str("The message is empty. Write something."),
            Refusal::TooLong { bytes, limit } => {
                write!(f, "The message has {bytes} bytes; at most {limit} are allowed. Shorten it.")
            }
            Refusal::Binary => f.write_str("Binary messages are not understood. Send text."),
            Refusal::QueueFull { limit } => {
                write!(f, "{limit} messages are waiting already. Wait for an answer first.")
            }
            Refusal::Draining => f.write_str("The service is restarting. Reconnect and send it again."),
        }
    }
}

/// What a client may say.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a user message.
    pub message_bytes: usize,
}

/// A user message that says something and is not too long.
fn user_message(text: &str, limits: Limits) -> Result<ClientFrame, Refusal> {
    if text.len() > limits.message_bytes {
        return Err(Refusal::TooLong { bytes: text.len(), limit: limits.message_bytes });
    }
    if is_blank(text) {
        return Err(Refusal::Empty);
    }
    Ok(ClientFrame::Message { text: text.to_owned() })
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
}

impl Codec {
    /// Reads one message. An error is told to the client and changes nothing.
    pub fn decode(self, message: Incoming<'_>, limits: Limits) -> Result<ClientFrame, Refusal> {
        match self {
            Codec::Plain => plain::decode(message, limits),
        }
    }

    /// Spells one frame as any number of text messages, each given to `send`.
    pub fn encode(self, frame: &ServerFrame, send: impl FnMut(&str)) {
        match self {
            Codec::Plain => plain::encode(frame, send),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_a_code_and_says_what_to_do() {
        let all = [
            (Refusal::Empty, "empty_message", "The message is empty. Write something."),
            (
                Refusal::TooLong { bytes: 70_000, limit: 65_536 },
                "message_too_long",
                "The message has 70000 bytes; at most 65536 are allowed. Shorten it.",
            ),
            (Refusal::Binary, "binary_message", "Binary messages are not understood. Send text."),
            (
                Refusal::QueueFull { limit: 8 },
                "queue_full",
                "8 messages are waiting already. Wait for an answer first.",
            ),
            (Refusal::Draining, "draining", "The service is restarting. Reconnect and send it again."),
        ];
        for (refusal, code, sentence) in all {
            assert_eq!((refusal.code(), refusal.to_string().as_str()), (code, sentence));
        }
    }

    #[test]
    fn only_text_counts_as_text() {
        let text = "水".to_owned();
        assert_eq!(ServerFrame::Delta { entry: 1, text: text.clone() }.text_bytes(), 3);
        assert_eq!(ServerFrame::Reasoning { entry: 1, text }.text_bytes(), 3);
        assert_eq!(ServerFrame::Queued { run: RunId(1), place: 9 }.text_bytes(), 0);
    }
}
