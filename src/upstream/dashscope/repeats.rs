//! Notices a service that repeats the text so far although only new text was asked for.
use super::{cumulative::Cumulative, frame::Content};
use crate::{
    chat::TextKind,
    upstream::{
        frame::{FrameError, RawText},
        json_string::unescape,
    },
};
use std::{
    borrow::Cow,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

/// Number of consecutive pieces that must begin with the text so far.
const IN_A_ROW: u8 = 3;
/// Maximum characters of a text that may repeat by chance: "1", "11", "111"; such texts do not count.
const CHANCE: usize = 8;
/// Maximum number of pieces examined; after that the answer counts as ordinary.
const PIECES_MAX: u8 = 16;

/// The observation of one answer. An answer is taken as cumulative when, from its first piece on, each piece begins
/// with the whole of the one before, [`IN_A_ROW`] of them were longer than that, and the last has more than
/// [`CHANCE`] characters. The first piece that does not fit settles the matter, in an ordinary answer the second.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    answer: Pieces,
    reasoning: Pieces,
    /// The answer is read as the text so far by this guess, not because that was asked for.
    is_guess: bool,
    shown: Option<bool>,
}

/// The pieces of one kind.
#[derive(Debug, Default)]
struct Pieces {
    /// The last piece, as it stands in its JSON string.
    last: String,
    pieces: u8,
    in_a_row: u8,
    is_settled: bool,
}

impl Repeats {
    /// The service was seen to repeat in other answers.
    pub(super) fn expect(&mut self) {
        self.is_guess = true;
    }

    /// What this answer has shown that was not known when it began.
    pub(super) fn shown(&self) -> Option<bool> {
        self.shown
    }

    pub(super) fn is_guess(&self) -> bool {
        self.is_guess
    }

    /// Looks at a piece of one kind, raw; true: from this one on the answer is read as the text so far.
    #[inline]
    pub(super) fn notices(&mut self, kind: TextKind, raw: &str) -> bool {
        let watch = match kind {
            TextKind::Answer => &mut self.answer,
            TextKind::Reasoning => &mut self.reasoning,
        };
        !watch.is_settled && watch.take(raw)
    }

    /// The same for a frame that was parsed.
    pub(super) fn notices_in(&mut self, content: &Content<'_>) -> bool {
        let (answer, reasoning) = (!self.answer.is_settled, !self.reasoning.is_settled);
        (answer && self.answer.take(&raw(&content.answer)))
            | (reasoning && self.reasoning.take(&raw(&content.reasoning)))
    }

    /// Begins to read the text so far, after the last pieces.
    pub(super) fn begin(&mut self) -> Result<Cumulative, FrameError> {
        (self.is_guess, self.shown) = (true, Some(true));
        Ok(Cumulative::after(decoded(&self.answer.last)?, decoded(&self.reasoning.last)?))
    }

    /// The guess was wrong: the answer is not cumulative.
    pub(super) fn withdraw(&mut self) {
        (self.is_guess, self.shown) = (false, Some(false));
        self.answer.settle();
        self.reasoning.settle();
    }
}

impl Pieces {
    #[cold]
    fn take(&mut self, raw: &str) -> bool {
        if raw.is_empty() {
            return false;
        }
        match raw.strip_prefix(self.last.as_str()) {
            None => self.settle(),
            Some("") => {} // The same once more is no sign of either.
            Some(_) => {
                self.in_a_row += u8::from(self.pieces > 0);
                let is_long = || decoded(raw).is_ok_and(|text| text.chars().count() > CHANCE);
                if self.in_a_row >= IN_A_ROW && is_long() {
                    return true;
                }
                self.last.clear();
                self.last.push_str(raw);
            }
        }
        self.pieces += 1;
        if self.pieces >= PIECES_MAX {
            self.settle();
        }
        false
    }

    fn settle(&mut self) {
        self.is_settled = true;
        self.last = String::new();
    }
}

/// A text in one piece.
fn raw<'a>(text: &RawText<'a>) -> Cow<'a, str> {
    match text.single() {
        Some(raw) => Cow::Borrowed(raw),
        None => Cow::Owned(text.pieces().collect()),
    }
}

fn decoded(raw: &str) -> Result<String, FrameError> {
    let mut text = String::new();
    unescape(raw, &mut text)?;
    Ok(text)
}

/// What the answers of one model have shown, for all answers to come in this process.
#[derive(Debug, Default)]
pub(super) struct Habit {
    repeats: AtomicBool,
    has_warned: AtomicBool,
}

impl Habit {
    /// Whether the service was seen to repeat the text so far, see [`super::BodyReader::new`].
    pub(super) fn repeats(&self) -> bool {
        self.repeats.load(Relaxed)
    }

    /// Notes what an answer has shown, see [`super::BodyReader::shown`]. True: the operator is to be warned, once.
    pub(super) fn note(&self, shown: Option<bool>) -> bool {
        let Some(repeats) = shown else { return false };
        self.repeats.store(repeats, Relaxed);
        repeats && !self.has_warned.swap(true, Relaxed)
    }
}
