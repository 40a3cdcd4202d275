//! The way out of an answer: text and thinking as run events, up to the bound of the answer.
use std::mem;

use super::cumulative::New;
use super::event::{Text, Unreadable};
use crate::chat::{RunError, RunErrorKind, RunEvent, TextKind};
use crate::upstream::json_string::unescape;

/// Why a frame was not taken.
pub(super) enum Trouble {
    Unreadable(Unreadable),
    Run(RunError),
}

impl From<Unreadable> for Trouble {
    fn from(unreadable: Unreadable) -> Self {
        Trouble::Unreadable(unreadable)
    }
}

impl From<RunError> for Trouble {
    fn from(error: RunError) -> Self {
        Trouble::Run(error)
    }
}

/// Hands out text. Whatever comes in one call of the reader is joined to one event, so that an
/// event of the upstream costs no allocation but the growth of that text.
#[derive(Debug)]
pub(super) struct Outlet {
    /// The bound of answer and thinking together, in bytes.
    limit: usize,
    used: usize,
    /// Where escapes are decoded.
    scratch: String,
}

impl Outlet {
    pub(super) fn new(limit: usize) -> Self {
        Outlet { limit, used: 0, scratch: String::new() }
    }

    /// Whether text or thinking was handed out.
    pub(super) fn spoke(&self) -> bool {
        self.used > 0
    }

    /// Hands out answer text.
    ///
    /// # Errors
    /// `AnswerTooLong`, after as many whole characters as fit.
    pub(super) fn text(&mut self, text: &str, events: &mut Vec<RunEvent>) -> Result<(), RunError> {
        self.push(text, TextKind::Answer, events)
    }

    pub(super) fn text_new(&mut self, new: New<'_>, events: &mut Vec<RunEvent>) -> Result<(), Trouble> {
        self.push_new(new, TextKind::Answer, events)
    }

    pub(super) fn thought_new(&mut self, new: New<'_>, events: &mut Vec<RunEvent>) -> Result<(), Trouble> {
        self.push_new(new, TextKind::Reasoning, events)
    }

    fn push_new(&mut self, new: New<'_>, kind: TextKind, events: &mut Vec<RunEvent>) -> Result<(), Trouble> {
        match new {
            New::Decoded(text) => self.push(&text, kind, events)?,
            New::Raw(text) => self.push_raw(&text, kind, events)?,
        }
        Ok(())
    }

    fn push_raw(
        &mut self,
        text: &Text<'_>,
        kind: TextKind,
        events: &mut Vec<RunEvent>,
    ) -> Result<(), Trouble> {
        for raw in text.pieces() {
            if !raw.contains('\\') {
                self.push(raw, kind, events)?;
                continue;
            }
            let mut scratch = mem::take(&mut self.scratch);
            scratch.clear();
            unescape(raw, &mut scratch).map_err(Unreadable::from)?;
            self.push(&scratch, kind, events)?;
            self.scratch = scratch;
        }
        Ok(())
    }

    fn push(&mut self, text: &str, kind: TextKind, events: &mut Vec<RunEvent>) -> Result<(), RunError> {
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
