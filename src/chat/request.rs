//! A client's request for a turn.
use super::{ChatMessage, MessageId};

/// Answer a user message.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnRequest {
    pub kind: TurnKind,
    /// The message to answer; not blank, within the limit.
    pub message: ChatMessage,
    /// The client's copy of the conversation before the message, oldest first. Used only by a session without
    /// history: the server's copy wins.
    pub transcript: Vec<ChatMessage>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnKind {
    /// A new message. If it is the newest of the history, or is being answered or queued, it is a repetition and not
    /// answered again.
    Submit,
    /// The message replaces an earlier one of the user and everything after it.
    Edit { replaces: MessageId },
    /// The message is answered again; its answer and everything after it are dropped. If the message is unknown, the turn is
    /// found by this answer.
    Regenerate { answer: Option<MessageId> },
}
