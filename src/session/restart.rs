//! The point of a turn's log from which on its answer is valid.
use crate::protocol::position;
use std::sync::Arc;

/// The last restart of a turn. What was before it is gone; numbers, entries and parts count on.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRestart {
    /// Restarts so far.
    pub(super) count: u8,
    /// Entries before it.
    pub(super) entries: u32,
    /// Parts before it.
    pub(super) parts: u32,
    /// Entries before the first one of the withdrawn answer, beyond its reasoning.
    pub(super) reasoning: u32,
    /// The model that answers from there on.
    pub(super) model: Option<Arc<str>>,
}

impl LogRestart {
    pub(super) const NONE: LogRestart =
        LogRestart { count: 0, entries: 0, parts: 0, reasoning: u32::MAX, model: None };

    /// Its number within the turn; 0 if there was none.
    pub(super) fn number(&self) -> u32 {
        let others = u32::from(self.count).saturating_sub(1);
        if self.count == 0 { 0 } else { position::ending(self.entries, self.parts) + others }
    }
}
