//! The contents of a response's frames, independent of the dialect. A frame is the JSON of one event, or of a whole answer.
use super::{error_table::Table, json_string::BadEscape, template::Fit};
use crate::chat::{RunError, TextKind, Usage};

/// Reads the frames of one response in one dialect.
pub(super) trait Frames {
    /// Whether a payload that is no JSON is text of the answer; otherwise it is a fault.
    const PLAIN_TEXT: bool;
    /// Whether the payload `[DONE]` ends the stream; otherwise it means nothing.
    const DONE_ENDS: bool;

    /// The meaning of the service's errors.
    fn errors(&self) -> Table;

    /// The error in the body of an error status, and the request's id in it; `None` if that is no JSON object.
    fn error_in(&mut self, body: &[u8]) -> Option<(ServiceError, Option<String>)>;

    /// Reads one frame and hands out its parts.
    ///
    /// # Errors
    /// [`FrameError`], those of `take` among them. Parts that were handed out before count.
    fn read(&mut self, line: &[u8], expect: Expect, take: &mut impl Take) -> Result<(), FrameError>;

    /// Reads a whole event of nothing but text at the beginning of `bytes`, of at most `length_max` bytes, if that is
    /// possible without parsing it. Other events are read line by line.
    fn read_event<'a>(&mut self, bytes: &'a [u8], length_max: usize) -> Option<Fit<'a>>;

    /// These bytes, from the beginning of an event on, were read line by line.
    fn learn_event(&mut self, event: &[u8]);

    /// The running totals of the last frame, if that was read without being parsed.
    fn usage(&self) -> Option<Usage>;
}

/// Takes the parts of a frame, in order.
pub(super) trait Take: FnMut(FramePart<'_>) -> Result<(), FrameError> {}

impl<T: FnMut(FramePart<'_>) -> Result<(), FrameError>> Take for T {}

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
    /// The HTTP status that it stands for, where it says so.
    pub(super) status: Option<u16>,
}

impl ServiceError {
    /// An error of which there is only this text.
    pub(super) fn uncoded(message: impl Into<String>) -> Self {
        ServiceError { message: message.into(), ..ServiceError::default() }
    }
}

/// What a frame adds to the answer, as it stands in the JSON.
#[derive(Debug)]
pub(super) struct Content<'a> {
    pub(super) answer: RawText<'a>,
    pub(super) reasoning: RawText<'a>,
    pub(super) finish: Finish<'a>,
    pub(super) has_tool_call: bool,
}

impl<'a> Content<'a> {
    /// The text of a frame that has text of one kind, in one piece, and nothing else.
    pub(super) fn text_alone(&self) -> Option<(TextKind, &'a str)> {
        let (kind, text) = match (self.answer.is_empty(), self.reasoning.is_empty()) {
            (false, true) => (TextKind::Answer, &self.answer),
            (true, false) => (TextKind::Reasoning, &self.reasoning),
            _ => return None,
        };
        if self.finish != Finish::NotYet || self.has_tool_call {
            return None;
        }
        Some((kind, text.single()?))
    }
}

impl<'a> From<Content<'a>> for FrameContent<'a> {
    fn from(Content { answer, reasoning, finish, has_tool_call }: Content<'a>) -> Self {
        FrameContent {
            answer: NewText::Raw(answer),
            reasoning: NewText::Raw(reasoning),
            finish,
            has_tool_call,
        }
    }
}

/// The new part of what a frame adds to the answer.
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
