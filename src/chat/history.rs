//! The history of a conversation and the part of it that goes to the model.

/// What of a history is kept and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Estimated tokens of one request.
    pub tokens: u32,
    /// Bytes of text.
    pub bytes: usize,
    /// Messages, the system prompt not counted.
    pub messages: usize,
}
pub struct History;
pub struct Window;
