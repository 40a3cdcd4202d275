//! The contents of a response's frames, independent of the dialect. A frame is the JSON of one event, or of a whole answer.
use super::json_string::BadEscape;
use crate::chat::{RunError, TextKind, Usage};

/// Why a frame was not taken.
#[derive(Debug)]
pub(super) enum FrameError {
    /// The JSON has not ended; more lines of the event may complete it.
    Incomplete,
    /// What is wrong, without any of the text: it goes into the log.
    Malformed(String),
    /// The run has failed.
    Run(RunError),
}

impl FrameError {
    pub(super) fn malformed(detail: &str) -> Self {
        FrameError::Malformed(detail.to_owned())
    }
}

impl From<BadEscape> for FrameError {
    fn from(error: BadEscape) -> Self {
        FrameError::Malformed(error.to_string())
    }
}

impl From<RunError> for FrameError {
    fn from(error: RunError) -> Self {
        FrameError::Run(error)
    }
}

/// What the next frame may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// Part of the answer, unless it says otherwise itself.
    Answer,
    /// An error, whatever it looks like.
    Error,
    /// Nothing but usage: the answer is finished.
    Usage,
}

/// A part of a frame that was read. A frame is either one `Text`, or `Meta` and then, unless the answer is finished,
/// one `Error` or one `Content`.
#[derive(Debug)]
pub(super) enum FramePart<'a> {
    /// Nothing but new text, as it stands in its JSON string.
    Text(TextKind, &'a str),
    Meta {
        /// The running totals.
        usage: Option<Usage>,
        /// The service's id of the request, as it stands in its JSON string.
        request_id: Option<&'a str>,
    },
    Error(ServiceError),
    Content(FrameContent<'a>),
}

/// An error as the service reported it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServiceError {
    pub(super) code: Option<String>,
    pub(super) message: String,
}

impl ServiceError {
    /// An error of which there is only this text.
    pub(super) fn uncoded(message: impl Into<String>) -> Self {
        ServiceError { code: None, message: message.into() }
    }
}

/// What a frame adds to the answer.
#[derive(Debug)]
pub(super) struct FrameContent<'a> {
    pub(super) answer: NewText<'a>,
    pub(super) reasoning: NewText<'a>,
    pub(super) finish: Finish<'a>,
    pub(super) has_tool_call: bool,
}

/// The finish reason of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finish<'a> {
    /// Still generating.
    NotYet,
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    /// Anything else, as it came. The content of such a frame may be the text of an error.
    Unknown(&'a str),
}

/// New text of a frame.
#[derive(Debug)]
pub(super) enum NewText<'a> {
    Raw(RawText<'a>),
    Decoded(String),
}

/// A text in pieces, each the raw inside of a JSON string. Almost always it is one piece: only an array of parts can
/// have more, and then `more` allocates.
#[derive(Debug, Default)]
pub(super) struct RawText<'a> {
    first: Option<&'a str>,
    more: Vec<&'a str>,
}

impl<'a> RawText<'a> {
    pub(super) fn of(raw: &'a str) -> Self {
        RawText { first: Some(raw), more: Vec::new() }
    }

    pub(super) fn push(&mut self, piece: &'a str) {
        match self.first {
            None => self.first = Some(piece),
            Some(_) => self.more.push(piece),
        }
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = &'a str> {
        self.first.into_iter().chain(self.more.iter().copied())
    }

    /// The text, if it is in one piece.
    pub(super) fn single(&self) -> Option<&'a str> {
        if self.more.is_empty() { self.first } else { None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces().all(str::is_empty)
    }
}
