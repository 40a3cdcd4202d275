//! One message of a conversation.
use super::Text;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    /// The name on every wire that we speak.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// What one side said. Cloning shares the text: a request holds the same bytes as the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub text: Text,
}

impl Message {
    pub fn new(role: Role, text: impl Into<Text>) -> Self {
        Message { role, text: text.into() }
    }
}
