//! One budget for all the memory that clients can make the process hold: how much there is, who holds
//! what, and who gives something back when it is used up. Pure.
//!
//! Holders keep an [`Account`] each and write down what they hold in steps of a KiB, never for a delta.
//! The sums by kind and by source are shared by all threads. Above the bound the sources that hold most
//! pay: [`Plan`] says how much each of them, and the workers take it back in this order: unfinished
//! messages, finished answers that are kept for a reader, idle chats. What is left is growth, so large
//! sources are refused new questions. A running answer is never ended.
mod account;
mod limit;
mod payers;
mod plan;

pub use account::{Account, Kind, Memory, Pressure};
pub use limit::{Limit, MIN};
pub use payers::choose;
pub use plan::{Plan, Round};

/// How scarce memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// There is enough.
    #[default]
    Calm = 0,
    /// What can be taken back is taken back, and messages of large sources are not read on.
    Tight = 1,
    /// Beside that, large sources are refused new questions: too little can be taken back.
    Full = 2,
    /// All sources but small ones are refused new questions; far above the bound, those too.
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
