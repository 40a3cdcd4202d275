//! What a client with several chats asks of one of them.
use super::{MessageId, Role};

/// Answer a user message.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    pub kind: AskKind,
    /// The message that is to be answered; not blank, within the limit.
    pub message: UserMessage,
    /// The client's copy of what was said before it, oldest first. Looked at only by a session that knows
    /// nothing of the conversation: what the server remembers wins.
    pub transcript: Vec<Past>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskKind {
    /// A new message. One that the history ends with already, or that is being answered or waits, is
    /// the same message sent again: it is not answered twice.
    Submit,
    /// The message takes the place of an earlier one of the user and of all that followed it.
    Edit { replaces: MessageId },
    /// The message is answered once more; its answer and all that followed it are dropped. Where the
    /// message is not known, the turn of this answer is meant.
    Regenerate { answer: Option<MessageId> },
}

#[derive(Clone, Debug, PartialEq)]
pub struct UserMessage {
    pub id: MessageId,
    pub text: String,
}

/// A message of a client's copy of the conversation: of the user or of the assistant, or of the system
/// where the configuration allows that.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    pub role: Role,
    pub id: MessageId,
    pub text: String,
}
