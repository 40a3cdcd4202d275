//! Where a reader stands in an answer, as a number that both sides can name.
//!
//! The words of a turn are numbered from 0 without gaps, the same for every reader: its beginning (two
//! numbers), then for each part, a run of entries of one kind, its opening, its entries and its closing,
//! and its end (two numbers). A dialect that needs fewer words leaves numbers out; none needs more.
use crate::chat::{MessageId, RunId};

/// Which of an answer's two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Reasoning,
    Answer,
}

/// Numbers before the first part.
pub const BEGINNING: u32 = 2;
/// Numbers after the last part.
pub const ENDING: u32 = 2;

/// A point between two entries of a turn, where a reader begins to follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub run: RunId,
    pub answer: MessageId,
    /// What the reader has: everything up to this number. `None`: nothing, it is told from the
    /// beginning. Words from here to the point itself are not to be told.
    pub after: Option<u32>,
    /// The beginning lies before the point.
    pub begun: bool,
    /// Entries before it.
    pub entries: u32,
    /// Parts that begin before it.
    pub parts: u32,
    /// Kind of the part that is open there.
    pub open: Option<Kind>,
}

/// The number of entry `entry` (counted from 1) in part `part` (counted from 1).
pub fn number(entry: u32, part: u32) -> u32 {
    // Before it: the beginning, so many openings, one closing less, and the entries before it.
    BEGINNING + part + (part - 1) + (entry - 1)
}
