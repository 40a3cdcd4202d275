//! Client dialects of the load tester: one file per dialect, chosen once per run.
mod ai_sdk;
mod plain;

use super::measure::{ErrorKind, Failure};
use std::borrow::Cow;

/// The dialect of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Plain,
    /// `whole`: each question carries the whole conversation.
    AiSdk {
        whole: bool,
    },
}

/// A decoded message of the gateway, or a fragment of a plain one.
#[expect(clippy::large_enum_variant, reason = "it lives on the stack, and a box would be one for each delta")]
pub(crate) enum Frame<'a> {
    Plain { text: &'a [u8], is_first: bool },
    AiSdk { conversation: usize, frame: ai_sdk::Frame<'a> },
}

/// What a frame means to its conversation.
#[derive(Debug, PartialEq)]
pub(crate) enum ServerEvent<'a> {
    /// New text of the answer.
    Text(Cow<'a, [u8]>),
    /// A chunk of the answer that is not text, or a transient notice.
    NonText,
    /// A resume found its answer; chunks follow.
    Resumed,
    /// The text so far is withdrawn; the answer begins anew.
    Restarted,
    /// The answer has ended.
    End,
    /// The answer has ended with an error.
    Error(String),
    /// A resume found nothing.
    NoActive,
}

/// One conversation as seen by its user, across sockets.
pub(crate) enum Conversation {
    Plain,
    AiSdk(Box<ai_sdk::Conversation>),
}

impl Dialect {
    /// Tidegate's path for this dialect.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Dialect::Plain => "/chat",
            Dialect::AiSdk { .. } => "/api/chat",
        }
    }

    /// Whether messages can only be decoded as a whole.
    pub(crate) fn is_framed(self) -> bool {
        matches!(self, Dialect::AiSdk { .. })
    }

    /// Decodes a message.
    ///
    /// # Errors
    /// The message is not valid in this dialect.
    pub(crate) fn read(self, text: &[u8], is_first: bool) -> Result<Frame<'_>, Failure> {
        match self {
            Dialect::Plain => Ok(Frame::Plain { text, is_first }),
            Dialect::AiSdk { .. } => {
                let (conversation, frame) = ai_sdk::read(text)?;
                Ok(Frame::AiSdk { conversation, frame })
            }
        }
    }

    /// The conversation with index `index` on its socket and the name `name` in the run.
    pub(crate) fn conversation(self, index: usize, name: String) -> Conversation {
        match self {
            Dialect::Plain => Conversation::Plain,
            Dialect::AiSdk { whole } => {
                Conversation::AiSdk(Box::new(ai_sdk::Conversation::new(index, name, whole)))
            }
        }
    }
}

impl Frame<'_> {
    /// Index of the conversation that it belongs to.
    pub(crate) fn conversation(&self) -> usize {
        match self {
            Frame::Plain { .. } => 0,
            Frame::AiSdk { conversation, .. } => *conversation,
        }
    }
}

impl Conversation {
    /// Encodes a question.
    pub(crate) fn ask(&mut self, text: &str) -> String {
        match self {
            Conversation::Plain => text.to_owned(),
            Conversation::AiSdk(conversation) => conversation.ask(text),
        }
    }

    /// Encodes the last question again under the same message id, so that it is answered only once.
    pub(crate) fn ask_again(&mut self) -> Option<String> {
        match self {
            Conversation::Plain => None,
            Conversation::AiSdk(conversation) => Some(conversation.ask_again()),
        }
    }

    /// Encodes a resume on a new socket, from the last position or `from_beginning`, and returns whether the
    /// text restarts from its beginning. `None` where the dialect has no resume.
    pub(crate) fn resume(&mut self, from_beginning: bool) -> Option<(String, bool)> {
        match self {
            Conversation::Plain => None,
            Conversation::AiSdk(conversation) => Some(conversation.resume(from_beginning)),
        }
    }

    /// Applies a frame to the conversation.
    ///
    /// # Errors
    /// The frame is not allowed in this state.
    pub(crate) fn receive<'a>(&mut self, frame: Frame<'a>) -> Result<ServerEvent<'a>, Failure> {
        match (self, frame) {
            (Conversation::Plain, Frame::Plain { text, is_first }) => Ok(plain::receive(text, is_first)),
            (Conversation::AiSdk(conversation), Frame::AiSdk { frame, .. }) => conversation.receive(frame),
            // Cannot happen: a run has one dialect.
            _ => Err(Failure { kind: ErrorKind::Frame, why: "a frame of another dialect".to_owned() }),
        }
    }
}
