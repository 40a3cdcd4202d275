//! What a session keeps in memory, and what of it can be given back while it goes on.
use super::{Effect, Session, subscribers::Scope};
use crate::protocol::Close;

/// What a session costs beside its texts, with its actor and its places in tables.
const SESSION_BYTES: usize = 2048;
/// What a subscriber costs, here, in the actor and on its connection.
const SUBSCRIBER_BYTES: usize = 1024;

/// Bytes that a session holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// The conversation, and the session itself.
    pub history: usize,
    /// Questions that wait.
    pub queued: usize,
    /// Answers that are written, read or kept.
    pub replay: usize,
    /// The part of `replay` that [`Input::GiveBack`](super::Input::GiveBack) gives back.
    pub retained: usize,
}

impl Session {
    pub fn memory_use(&self) -> MemoryUse {
        let each = |log: &super::TurnLog| log.capacity();
        MemoryUse {
            history: SESSION_BYTES + SUBSCRIBER_BYTES * self.subscribers.len() + self.history.capacity(),
            queued: self.queue.capacity(),
            replay: self.logs.iter().map(each).sum(),
            retained: self.logs.iter().take(self.retained_logs()).map(each).sum(),
        }
    }

    /// An answer is being written.
    pub fn is_answering(&self) -> bool {
        self.run.is_some()
    }

    /// Text in the newest log: cheap, to see when it is time to ask for [`Session::held`] again.
    pub fn newest_bytes(&self) -> usize {
        self.logs.back().map_or(0, super::TurnLog::len)
    }

    /// Logs that are there only for who may come, or for subscribers that are a turn or more behind.
    fn retained_logs(&self) -> usize {
        match self.logs.len() {
            all if self.subscribers.is_empty() => all - usize::from(self.run.is_some()),
            // To let its subscriber go would end the running answer.
            _ if self.retention.is_none() && self.run.is_some() => 0,
            all => all.saturating_sub(1),
        }
    }

    /// Memory is short: finished answers are not kept any longer. A subscriber that is still in an earlier turn
    /// than the newest is let go.
    pub(super) fn give_back(&mut self, fx: &mut Vec<Effect>) {
        if let Some(retention) = &mut self.retention {
            retention.replay_until = None;
        }
        if self.retention.is_none() && self.run.is_some() {
            return;
        }
        let newest = self.newest_log();
        for at in 0..self.subscribers.len() {
            let subscriber = &mut self.subscribers[at];
            let reads = matches!(subscriber.scope, Scope::Session | Scope::Turn(_));
            if reads && !self.logs.is_empty() && subscriber.cursor.log() < newest {
                subscriber.close_reason = Some(Close::Overloaded);
                self.pump_one(fx, at);
            }
        }
    }
}
