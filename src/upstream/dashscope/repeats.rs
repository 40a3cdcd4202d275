//! Notices a service that repeats the text so far although only new text was asked for.
use super::cumulative::Cumulative;
use crate::{
    chat::TextKind,
    upstream::{
        frame::{Content, FrameError, RawText},
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
    /// The kinds that are no longer observed. In an ordinary answer that is settled by the second piece.
    settled: ByKind<bool>,
    /// The answer is read as the text so far by this guess, not because that was asked for.
    is_guess: bool,
    shown: Option<bool>,
    /// On the heap, because every delta reads the other fields and few deltas these.
    pieces: Option<Box<ByKind<Pieces>>>,
}

#[derive(Debug, Default)]
struct ByKind<T> {
    answer: T,
    reasoning: T,
}

impl<T> ByKind<T> {
    fn of(&mut self, kind: TextKind) -> &mut T {
        match kind {
            TextKind::Answer => &mut self.answer,
            TextKind::Reasoning => &mut self.reasoning,
        }
    }
}

/// The pieces of one kind.
#[derive(Debug, Default)]
struct Pieces {
    /// The last piece, as it stands in its JSON string.
    last: String,
    pieces: u8,
    in_a_row: u8,
}

/// What a piece tells about the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Repeats,
    Ordinary,
    Undecided,
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

    /// Whether pieces of this kind are no longer observed.
    #[inline]
    pub(super) fn is_settled(&self, kind: TextKind) -> bool {
        match kind {
            TextKind::Answer => self.settled.answer,
            TextKind::Reasoning => self.settled.reasoning,
        }
    }

    /// Looks at a piece of one kind, raw; true: from this one on the answer is read as the text so far.
    #[inline]
    pub(super) fn notices(&mut self, kind: TextKind, raw: &str) -> bool {
        !self.is_settled(kind) && self.take(kind, raw)
    }

    /// The same for a frame that was parsed.
    pub(super) fn notices_in(&mut self, content: &Content<'_>) -> bool {
        let (answer, reasoning) = (!self.settled.answer, !self.settled.reasoning);
        (answer && self.take(TextKind::Answer, &raw(&content.answer)))
            | (reasoning && self.take(TextKind::Reasoning, &raw(&content.reasoning)))
    }

    #[cold]
    fn take(&mut self, kind: TextKind, raw: &str) -> bool {
        if raw.is_empty() {
            return false;
        }
        let sign = self.pieces.get_or_insert_default().of(kind).take(raw);
        if sign == Sign::Ordinary {
            self.settle(kind);
        }
        sign == Sign::Repeats
    }

    fn settle(&mut self, kind: TextKind) {
        *self.settled.of(kind) = true;
        if let Some(pieces) = &mut self.pieces {
            *pieces.of(kind) = Pieces::default();
        }
    }

    /// Begins to read the text so far, after the last pieces.
    pub(super) fn begin(&mut self) -> Result<Cumulative, FrameError> {
        (self.is_guess, self.shown) = (true, Some(true));
        let ByKind { answer, reasoning } = *self.pieces.take().unwrap_or_default();
        Ok(Cumulative::after(decoded(&answer.last)?, decoded(&reasoning.last)?))
    }

    /// The guess was wrong: the answer is not cumulative.
    pub(super) fn withdraw(&mut self) {
        (self.is_guess, self.shown) = (false, Some(false));
        self.settle(TextKind::Answer);
        self.settle(TextKind::Reasoning);
    }
}

impl Pieces {
    /// Observes a piece that is not empty.
    fn take(&mut self, raw: &str) -> Sign {
        match raw.strip_prefix(self.last.as_str()) {
            None => return Sign::Ordinary,
            Some("") => {} // The same once more is no sign of either.
            Some(_) => {
                self.in_a_row += u8::from(self.pieces > 0);
                let is_long = || decoded(raw).is_ok_and(|text| text.chars().count() > CHANCE);
                if self.in_a_row >= IN_A_ROW && is_long() {
                    return Sign::Repeats;
                }
                self.last.clear();
                self.last.push_str(raw);
            }
        }
        self.pieces += 1;
        if self.pieces >= PIECES_MAX { Sign::Ordinary } else { Sign::Undecided }
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
    /// Whether the service was seen to repeat the text so far, see [`super::FrameSource::new`].
    pub(super) fn repeats(&self) -> bool {
        self.repeats.load(Relaxed)
    }

    /// Notes what an answer has shown, see [`super::FrameSource::shown`]. True: the operator is to be warned, once.
    pub(super) fn note(&self, shown: Option<bool>) -> bool {
        let Some(repeats) = shown else { return false };
        self.repeats.store(repeats, Relaxed);
        repeats && !self.has_warned.swap(true, Relaxed)
    }
}
