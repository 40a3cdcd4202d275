//! The text of an answer as run events, up to the bound of the answer.
use super::{
    frame::{FrameError, NewText},
    json_string::unescape,
};
use crate::chat::{RunError, RunErrorKind, RunEvent, TextKind};
use std::mem;

/// Pushes text as run events. Whatever comes in one call of the reader is joined to one event, so that a frame costs
/// no allocation but the growth of that text.
#[derive(Debug)]
pub(super) struct TextOutput {
    /// The bound of answer and reasoning together, in bytes.
    limit: usize,
    used: usize,
    /// Where escapes are decoded.
    scratch: String,
}

impl TextOutput {
    pub(super) fn new(limit: usize) -> Self {
        TextOutput { limit, used: 0, scratch: String::new() }
    }

    /// Whether any text was pushed.
    pub(super) fn has_text(&self) -> bool {
        self.used > 0
    }

    /// Pushes the new text of a frame.
    ///
    /// # Errors
    /// As [`TextOutput::push`]; `Malformed` for an escape that cannot be decoded.
    pub(super) fn push_new(
        &mut self,
        kind: TextKind,
        new: &NewText<'_>,
        events: &mut Vec<RunEvent>,
    ) -> Result<(), FrameError> {
        match new {
            NewText::Decoded(text) => self.push(kind, text, events)?,
            NewText::Raw(text) => {
                for raw in text.pieces() {
                    self.push_raw(kind, raw, events)?;
                }
            }
        }
        Ok(())
    }

    /// Pushes text as it stands in its JSON string.
    ///
    /// # Errors
    /// As [`TextOutput::push_new`].
    #[inline]
    pub(super) fn push_raw(
        &mut self,
        kind: TextKind,
        raw: &str,
        events: &mut Vec<RunEvent>,
    ) -> Result<(), FrameError> {
        if !raw.contains('\\') {
            self.push(kind, raw, events)?;
            return Ok(());
        }
        let mut scratch = mem::take(&mut self.scratch);
        scratch.clear();
        unescape(raw, &mut scratch)?;
        self.push(kind, &scratch, events)?;
        self.scratch = scratch;
        Ok(())
    }

    /// Pushes text.
    ///
    /// # Errors
    /// `AnswerTooLong`, after as many whole characters as fit.
    pub(super) fn push(
        &mut self,
        kind: TextKind,
        text: &str,
        events: &mut Vec<RunEvent>,
    ) -> Result<(), RunError> {
        let fits = &text[..boundary(text, self.limit - self.used)];
        self.used += fits.len();
        RunEvent::push_text(events, kind, fits);
        if fits.len() == text.len() {
            return Ok(());
        }
        let detail = format!("the answer is longer than {} bytes", self.limit);
        Err(RunError::new(RunErrorKind::AnswerTooLong, detail))
    }
}

/// The end of the last whole character within `limit` bytes.
pub(super) fn boundary(text: &str, limit: usize) -> usize {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}
