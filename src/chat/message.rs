//! Messages of a conversation, and of a request to a model.
use super::{MessageId, Text};
use std::sync::Arc;

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    /// The name in all wire formats.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// How an answer ended, as far as its conversation remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// The model came to its end.
    #[default]
    Whole,
    /// The limit of tokens was reached.
    Cut,
    /// It was interrupted or stopped.
    Incomplete,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatMessage {
    pub id: MessageId,
    pub role: Role,
    pub text: Text,
    /// Of an answer.
    pub ending: Ending,
    /// The model that wrote the answer; `None` for other messages, and if unknown.
    pub model: Option<Arc<str>>,
}

impl ChatMessage {
    pub fn new(id: MessageId, role: Role, text: impl Into<Text>) -> Self {
        ChatMessage { id, role, text: text.into(), ending: Ending::Whole, model: None }
    }

    /// An answer.
    pub fn answer(id: MessageId, text: impl Into<Text>, ending: Ending) -> Self {
        ChatMessage { ending, ..Self::new(id, Role::Assistant, text) }
    }

    /// A question.
    pub fn user(id: MessageId, text: impl Into<Text>) -> Self {
        Self::new(id, Role::User, text)
    }
}

/// One message of a request to a model. Cloning shares the text: a request holds the same bytes as the
/// history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptMessage {
    pub role: Role,
    pub text: Text,
}

impl PromptMessage {
    pub fn new(role: Role, text: impl Into<Text>) -> Self {
        PromptMessage { role, text: text.into() }
    }
}
