//! The words between gateway and client; each spelling of them is one file.
pub mod ai_sdk;
pub mod close;
pub mod place;
pub mod plain;

pub use close::Close;
pub use place::{Kind, Place};

use crate::chat::{Ask, ChatId, FinishReason, IdFault, MessageId, RequestId, RunError, RunId, Timing, Usage};
use std::{fmt, sync::Arc, time::Duration};

/// What a client says.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientFrame {
    /// A user message for the one conversation of this socket, as it is to enter the history: not
    /// blank, within the limit.
    Message { text: String },
    /// A question in one of the client's chats.
    Ask { request: RequestId, chat: ChatId, ask: Box<Ask> },
    /// Follow the answer that a chat is giving, or has just given: all of it, or what comes after
    /// number `after` (see [`Place`]).
    Resume { request: RequestId, chat: ChatId, after: Option<u32> },
    /// Stop the answer that this request began or follows, or take the question back while it waits.
    Abort { request: RequestId },
    /// Answered with [`ServerFrame::Pong`] by the connection itself.
    Ping { request: Option<RequestId> },
}

/// A message that was not understood: why, and which request it was, where that much was readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misunderstood {
    pub request: Option<RequestId>,
    pub reason: Refusal,
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
    Refused { reason: Refusal },
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
            | ServerFrame::Refused { .. }
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
    /// Not a frame of the dialect: which field is wrong, and how.
    Malformed { field: &'static str, fault: &'static str },
    /// A name that cannot be one.
    BadId { field: &'static str, fault: IdFault },
    /// A part of the message that cannot be answered: its type.
    UnsupportedPart { kind: &'static str },
    /// The request's name is in use on this socket.
    DuplicateRequest,
    /// As many requests as a socket may have open.
    TooManyRequests { limit: usize },
    /// [`ClientFrame::Resume`] after a number that the answer has not reached.
    BadResume,
    /// The chat is attached to more often than it may be.
    TooOften { after: Duration },
    /// As many others follow the answer as may; the oldest had to go.
    TakenOver,
    /// The conversation cannot take the message just now; sending it again is right.
    Unavailable,
    /// As many conversations are kept as may be, and all of them are in use.
    TooManyChats,
    /// Memory is short, and this client has much of it.
    Overloaded { after: Duration },
}

impl Refusal {
    /// Every [`Refusal::code`].
    pub const CODES: [&'static str; 16] = [
        "empty_message",
        "message_too_long",
        "binary_message",
        "queue_full",
        "draining",
        "malformed",
        "bad_id",
        "unsupported_part",
        "duplicate_request",
        "too_many_requests",
        "bad_resume",
        "too_often",
        "taken_over",
        "unavailable",
        "too_many_chats",
        "overloaded",
    ];

    /// The stable name on wires, in logs and in metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Empty => "empty_message",
            Refusal::TooLong { .. } => "message_too_long",
            Refusal::Binary => "binary_message",
            Refusal::QueueFull { .. } => "queue_full",
            Refusal::Draining => "draining",
            Refusal::Malformed { .. } => "malformed",
            Refusal::BadId { .. } => "bad_id",
            Refusal::UnsupportedPart { .. } => "unsupported_part",
            Refusal::DuplicateRequest => "duplicate_request",
            Refusal::TooManyRequests { .. } => "too_many_requests",
            Refusal::BadResume => "bad_resume",
            Refusal::TooOften { .. } => "too_often",
            Refusal::TakenOver => "taken_over",
            Refusal::Unavailable => "unavailable",
            Refusal::TooManyChats => "too_many_chats",
            Refusal::Overloaded { .. } => "overloaded",
        }
    }

    /// What came was no frame of the dialect: a client that goes on so is broken.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Refusal::Malformed { .. } | Refusal::BadId { .. })
    }

    /// The same message may be taken later.
    pub fn can_be_sent_again(&self) -> bool {
        match self {
            Refusal::QueueFull { .. }
            | Refusal::Draining
            | Refusal::TooManyRequests { .. }
            | Refusal::TooOften { .. }
            | Refusal::Unavailable
            | Refusal::TooManyChats
            | Refusal::Overloaded { .. } => true,
            Refusal::Empty
            | Refusal::TooLong { .. }
            | Refusal::Binary
            | Refusal::Malformed { .. }
            | Refusal::BadId { .. }
            | Refusal::UnsupportedPart { .. }
            | Refusal::DuplicateRequest
            | Refusal::BadResume
            | Refusal::TakenOver => false,
        }
    }

    /// When it may be, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Refusal::TooOften { after } | Refusal::Overloaded { after } => Some(*after),
            _ => None,
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
            Refusal::Malformed { field, fault } => {
                write!(f, "The request cannot be read: `{field}` {fault}. See docs/PROTOCOL.md.")
            }
            Refusal::BadId { field, fault } => {
                write!(f, "The request cannot be read: `{field}` {fault}. See docs/PROTOCOL.md.")
            }
            Refusal::UnsupportedPart { kind } => {
                write!(f, "Parts of type `{kind}` are not understood. Send text.")
            }
            Refusal::DuplicateRequest => {
                f.write_str("A request of this name is open already. Use a new one.")
            }
            Refusal::TooManyRequests { limit } => {
                write!(f, "{limit} requests are open already. Wait for one of them to end.")
            }
            Refusal::BadResume => f.write_str("The answer is not that long. Resume from the beginning."),
            Refusal::TooOften { after } => {
                write!(f, "Too many attempts. Try again in {} s.", after.as_secs().max(1))
            }
            Refusal::TakenOver => f.write_str("This answer was opened in too many other places."),
            Refusal::Unavailable => f.write_str("The conversation did not answer. Send it again."),
            Refusal::TooManyChats => {
                f.write_str("Too many conversations are in use. Close one, or try again later.")
            }
            Refusal::Overloaded { after } => {
                write!(f, "The service is busy. Try again in {} s.", after.as_secs().max(1))
            }
        }
    }
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
fn check_message(text: &str, limits: Limits) -> Result<(), Refusal> {
    if text.len() > limits.message_bytes {
        return Err(Refusal::TooLong { bytes: text.len(), limit: limits.message_bytes });
    }
    if is_blank(text) {
        return Err(Refusal::Empty);
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
