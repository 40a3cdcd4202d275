//! Positions in an answer, as numbers that gateway and client share.
//!
//! The frames of a turn are numbered from 0 without gaps, the same for every subscriber: the start (two
//! numbers), then for each part (a run of entries of one kind) its opening, its entries and its closing,
//! and the end (two numbers). A restart has one number, behind the closing of the last part before it; the
//! functions here do not count restarts. A codec that needs fewer frames skips numbers; none needs more.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use crate::chat::{MessageId, RunId, TextKind};
use std::sync::Arc;

/// Numbers before the first part.
pub const BEGINNING: u32 = 2;
/// Numbers after the last part.
pub const ENDING: u32 = 2;

/// The number of a frame, among those of one run of its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberInRun {
    pub number: u32,
    /// The run, if it went on with an answer; `None`: the first run of the turn.
    pub run: Option<RunId>,
}

impl NumberInRun {
    /// A number of the first run.
    pub fn first(number: u32) -> Self {
        NumberInRun { number, run: None }
    }
}

/// A point between two entries of a turn at which a subscriber starts to read.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayPosition {
    pub run: RunId,
    pub answer: MessageId,
    /// The run, if it goes on with an answer.
    pub continued_by: Option<RunId>,
    /// The subscriber has everything up to this number, which may be after the point; frames between the two
    /// are not sent again. `None`: it has nothing and starts at the beginning.
    pub after: Option<u32>,
    /// The start of the turn is before the point.
    pub started: bool,
    /// Entries before it.
    pub entries: u32,
    /// Parts that start before it.
    pub parts: u32,
    /// The kind of the part that is open at the point.
    pub open: Option<TextKind>,
    /// Restarts before it.
    pub restarts: u32,
    /// The model that answers since the last of them.
    pub restarted_by: Option<Arc<str>>,
}

/// The number of entry `entry` (counted from 1) in part `part` (counted from 1).
pub fn number(entry: u32, part: u32) -> u32 {
    opening(entry.saturating_sub(1), part).saturating_add(1)
}

/// The number of the opening of part `part`, before which there are `entries`.
pub fn opening(entries: u32, part: u32) -> u32 {
    ending(entries, part.saturating_sub(1))
}

/// The number of the closing of part `part`, whose last entry is number `entries`.
pub fn closing(entries: u32, part: u32) -> u32 {
    number(entries, part).saturating_add(1)
}

/// The first number after the last part of a turn, which is that of its end.
pub fn ending(entries: u32, parts: u32) -> u32 {
    BEGINNING.saturating_add(entries).saturating_add(parts.saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_numbered_without_gaps() {
        // Two parts, of two entries and of one.
        let numbers = [opening(0, 1), number(1, 1), number(2, 1), closing(2, 1)];
        let more = [opening(2, 2), number(3, 2), closing(3, 2), ending(3, 2)];
        assert!(numbers.into_iter().chain(more).eq(BEGINNING..BEGINNING + 8));
        assert_eq!(ending(0, 0), BEGINNING, "an answer without a word");
    }
}
