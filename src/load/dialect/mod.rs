//! What users and gateway say to each other: one file for each dialect, chosen once for a run.
mod ai_sdk;
mod plain;

use super::measure::Trouble;
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
    AiSdk { talk: usize, frame: ai_sdk::Frame<'a> },
}

/// What a frame says to the one it is for.
#[derive(Debug, PartialEq)]
pub(crate) enum Word<'a> {
    /// New text of the answer.
    Text(Cow<'a, [u8]>),
    /// A piece of the answer that is no text, or news beside it.
    Beside,
    /// A resume has found its answer; pieces follow.
    Found,
    /// The answer is over.
    End,
    /// It is over, and something went wrong.
    Error(String),
    /// A resume has found nothing.
    NoActive,
}

/// A frame that nobody may send.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) trouble: Trouble,
    /// In words.
    pub(crate) why: String,
}

/// One conversation as its user sees it, however many sockets it takes.
pub(crate) enum Talk {
    Plain,
    AiSdk(Box<ai_sdk::Talk>),
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
    pub(crate) fn read(self, text: &[u8], is_first: bool) -> Result<Frame<'_>, Fault> {
        match self {
            Dialect::Plain => Ok(Frame::Plain { text, is_first }),
            Dialect::AiSdk { .. } => {
                let (talk, frame) = ai_sdk::read(text)?;
                Ok(Frame::AiSdk { talk, frame })
            }
        }
    }

    /// The conversation that is number `index` on its socket, and named `name` in the whole run.
    pub(crate) fn talk(self, index: usize, name: String) -> Talk {
        match self {
            Dialect::Plain => Talk::Plain,
            Dialect::AiSdk { whole } => Talk::AiSdk(Box::new(ai_sdk::Talk::new(index, name, whole))),
        }
    }
}

impl Frame<'_> {
    /// For which of a socket's conversations it is.
    pub(crate) fn talk(&self) -> usize {
        match self {
            Frame::Plain { .. } => 0,
            Frame::AiSdk { talk, .. } => *talk,
        }
    }
}

impl Talk {
    /// A question, ready to be sent.
    pub(crate) fn ask(&mut self, text: &str) -> String {
        match self {
            Talk::Plain => text.to_owned(),
            Talk::AiSdk(talk) => talk.ask(text),
        }
    }

    /// The last question once more, by the same name: it is answered once.
    pub(crate) fn ask_again(&mut self) -> Option<String> {
        match self {
            Talk::Plain => None,
            Talk::AiSdk(talk) => Some(talk.ask_again()),
        }
    }

    /// Goes on following an answer on a new socket, from where it was or `from_beginning`; `None` where the dialect
    /// cannot. Tells whether the text comes from its beginning.
    pub(crate) fn resume(&mut self, from_beginning: bool) -> Option<(String, bool)> {
        match self {
            Talk::Plain => None,
            Talk::AiSdk(talk) => Some(talk.resume(from_beginning)),
        }
    }

    /// What a frame says.
    ///
    /// # Errors
    /// The gateway may not send it now.
    pub(crate) fn hear<'a>(&mut self, frame: Frame<'a>) -> Result<Word<'a>, Fault> {
        match (self, frame) {
            (Talk::Plain, Frame::Plain { text, is_first }) => Ok(plain::hear(text, is_first)),
            (Talk::AiSdk(talk), Frame::AiSdk { frame, .. }) => talk.hear(frame),
            // A run has one dialect.
            _ => Err(Fault { trouble: Trouble::Frame, why: "a frame of another dialect".to_owned() }),
        }
    }
}
