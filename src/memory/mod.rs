//! One budget for all memory that clients can make the process hold: limit, accounting, and reclaiming. Pure.
//!
//! Each holder keeps an [`Account`] and updates it in steps of a KiB, never per delta. The sums by kind and
//! by source are shared by all threads. Above the bound, memory is reclaimed from the sources that hold the
//! most: [`ReclaimPlan`] computes how much from each, and the workers release it in this order: partially received
//! messages, finished answers retained for a subscriber, idle chats. The rest is growth, so questions of
//! large sources are rejected. A running answer is never ended.
mod account;
mod limit;
mod plan;
mod reclaim;

pub use account::{Account, Kind, Memory, Pressure};
pub use limit::{Limit, MIN};
pub use plan::{ReclaimPlan, Round};
pub use reclaim::select_largest;

/// Memory pressure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// No pressure.
    #[default]
    Calm = 0,
    /// Memory is reclaimed, and reading of messages of large sources is paused.
    Tight = 1,
    /// In addition, questions of large sources are rejected: not enough can be reclaimed.
    Full = 2,
    /// Questions of all but small sources are rejected; far above the bound, of all.
    Over = 3,
}

impl From<u8> for Level {
    fn from(level: u8) -> Self {
        match level {
            0 => Level::Calm,
            1 => Level::Tight,
            2 => Level::Full,
            _ => Level::Over,
        }
    }
}
