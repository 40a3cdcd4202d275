//! What a frame says, before a dialect spells it.

/// Fields that change from frame to frame. Texts are already JSON-escaped, without quotes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delta<'a> {
    pub(super) content: &'a [u8],
    pub(super) reasoning: &'a [u8],
    /// `None` while the answer is being generated.
    pub(super) finish: Option<Finish<'a>>,
    pub(super) output_tokens: u64,
    pub(super) reasoning_tokens: u64,
}

/// The terminal finish reason.
#[derive(Clone, Copy, Debug)]
pub(super) enum Finish<'a> {
    Reason(&'a str),
    /// JSON null in place of a reason.
    Null,
}

/// Payloads that a correct service would not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    /// JSON that is cut off.
    Garbage,
    NotJson,
    /// The content is a number.
    WrongTypes,
    InvalidUtf8,
    /// Nested 10,000 deep.
    Deep,
    NoChoices,
    /// No list of choices.
    NoList,
    /// A choice without a message.
    NoMessage,
    NullContent,
    NoContent,
    /// Text of a choice that was not asked for.
    OtherChoice,
}

/// Deeply nested arrays between these.
pub(super) fn nested(before: &str, after: &str) -> Vec<u8> {
    const DEPTH: usize = 10_000;
    [before, &"[".repeat(DEPTH), &"]".repeat(DEPTH), after].concat().into_bytes()
}
