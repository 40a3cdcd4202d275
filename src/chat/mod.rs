//! The types of a chat: IDs, messages, history, and the requests and events of runs.
pub mod error;
pub mod history;
pub mod id;
pub mod message;
pub mod model;
pub mod price;
pub mod principal;
pub mod record;
pub mod request;
pub mod run;
pub mod seam;
mod source;
pub mod text;
mod tokens;
mod turn;
pub mod usage;

pub use error::{Fault, Retry, RunError, RunErrorKind};
pub use history::{Budget, ChatTurn, History, HistorySnapshot, Prompt};
pub use id::{ChatId, IdFault, MessageId, RequestId};
pub use message::{ChatMessage, Ending, PromptMessage, Role};
pub use model::{
    Absence, Allowed, Catalog, Choice, ChoiceFault, Chosen, Model, Models, Offered, ParameterFault,
    Parameters, Range,
};
pub use principal::{ChatKey, Principal};
pub use record::{
    AttemptRecord, AttemptedBy, RESTARTS, Reported, RunOutcome, RunRecord, RunSink, TokenCount,
};
pub use request::{TurnKind, TurnRequest};
pub use run::{FinishReason, RunEnd, RunEvent, RunRequest, TextKind, Timing};
pub use source::{FairShareKey, Source};
pub use text::Text;
pub use tokens::TokenEstimate;
pub use usage::Usage;

use std::fmt;

/// The ID of a session: random, so that those of two processes, and the IDs of answers derived from them, never collide. In
/// logs it has 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u128);

/// One upstream generation, numbered from 1 within its session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u32);

/// The number of a subscriber of a session (a connection, or one request on a connection), unique in the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriberId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for SubscriberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for SubscriberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_they_are_searched_for_in_logs() {
        assert_eq!(
            (SessionId(0x2a).to_string(), format!("{:?}", SessionId(!0))),
            ("0000000000000000000000000000002a".to_owned(), "f".repeat(32))
        );
        assert_eq!((RunId(7).to_string(), format!("{:?}", RunId(7))), ("7".to_owned(), "7".to_owned()));
        assert_eq!(
            (SubscriberId(3).to_string(), format!("{:?}", SubscriberId(3))),
            ("3".to_owned(), "3".to_owned())
        );
    }
}
