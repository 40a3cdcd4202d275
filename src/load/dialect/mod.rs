//! What users and gateway say to each other: one file for each dialect, chosen once for a run.
mod ai_sdk;
mod plain;

use super::measure::{ErrorKind, Failure};
use std::borrow::Cow;

/// The language of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Plain,
    /// `whole`: the whole conversation goes with each question.
    AiSdk {
        whole: bool,
    },
}

/// A message of the gateway, or a part of it, taken apart.
#[expect(clippy::large_enum_variant, reason = "it lives on the stack, and a box would be one for each delta")]
pub(crate) enum Frame<'a> {
    Plain { text: &'a [u8], is_first: bool },
    AiSdk { conversation: usize, frame: ai_sdk::Frame<'a> },
}

/// What a frame says to the one it is for.
#[derive(Debug, PartialEq)]
pub(crate) enum ServerEvent<'a> {
    /// New text of the answer.
    Text(Cow<'a, [u8]>),
    /// A piece of the answer that is no text, or news beside it.
    NonText,
    /// A resume has found its answer; pieces follow.
    Resumed,
    /// The answer is over.
    End,
    /// It is over, and something went wrong.
    Error(String),
    /// A resume has found nothing.
    NoActive,
}

/// One conversation as its user sees it, however many sockets it takes.
pub(crate) enum Conversation {
    Plain,
    AiSdk(Box<ai_sdk::Conversation>),
}

impl Dialect {
    /// Where Tidegate speaks it.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Dialect::Plain => "/chat",
            Dialect::AiSdk { .. } => "/api/chat",
        }
    }

    /// Whether a message can only be read as a whole.
    pub(crate) fn is_framed(self) -> bool {
        matches!(self, Dialect::AiSdk { .. })
    }

    /// Takes apart what came.
    ///
    /// # Errors
    /// It is not of this dialect.
    pub(crate) fn read(self, text: &[u8], is_first: bool) -> Result<Frame<'_>, Failure> {
        match self {
            Dialect::Plain => Ok(Frame::Plain { text, is_first }),
            Dialect::AiSdk { .. } => {
                let (conversation, frame) = ai_sdk::read(text)?;
                Ok(Frame::AiSdk { conversation, frame })
            }
        }
    }

    /// The conversation that is number `index` on its socket, and named `name` in the whole run.
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
    /// For which of a socket's conversations it is.
    pub(crate) fn conversation(&self) -> usize {
        match self {
            Frame::Plain { .. } => 0,
            Frame::AiSdk { conversation, .. } => *conversation,
        }
    }
}

impl Conversation {
    /// A question, ready to be sent.
    pub(crate) fn ask(&mut self, text: &str) -> String {
        match self {
            Conversation::Plain => text.to_owned(),
            Conversation::AiSdk(conversation) => conversation.ask(text),
        }
    }

    /// The last question once more, by the same name: it is answered once.
    pub(crate) fn ask_again(&mut self) -> Option<String> {
        match self {
            Conversation::Plain => None,
            Conversation::AiSdk(conversation) => Some(conversation.ask_again()),
        }
    }

    /// Goes on following an answer on a new socket, from where it was or `from_beginning`; `None` where the dialect
    /// cannot. Tells whether the text comes from its beginning.
    pub(crate) fn resume(&mut self, from_beginning: bool) -> Option<(String, bool)> {
        match self {
            Conversation::Plain => None,
            Conversation::AiSdk(conversation) => Some(conversation.resume(from_beginning)),
        }
    }

    /// What a frame says.
    ///
    /// # Errors
    /// The gateway may not send it now.
    pub(crate) fn receive<'a>(&mut self, frame: Frame<'a>) -> Result<ServerEvent<'a>, Failure> {
        match (self, frame) {
            (Conversation::Plain, Frame::Plain { text, is_first }) => Ok(plain::receive(text, is_first)),
            (Conversation::AiSdk(conversation), Frame::AiSdk { frame, .. }) => conversation.receive(frame),
            // A run has one dialect.
            _ => Err(Failure { kind: ErrorKind::Frame, why: "a frame of another dialect".to_owned() }),
        }
    }
}
