//! Memory accounting of a session, and what it can release while it continues.
use super::{Effect, Session, subscribers::Scope};
use crate::protocol::Close;

/// Estimated bytes of a session without its texts, including its actor and its table entries.
const SESSION_BYTES: usize = 2048;
/// Estimated bytes of a subscriber: here, in the actor and on its connection.
const SUBSCRIBER_BYTES: usize = 1024;

/// Bytes that a session has allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// The conversation, and the session itself.
    pub history: usize,
    /// Queued turns.
    pub queued: usize,
    /// Replay logs: answers being written, being read, or kept for replay.
    pub replay: usize,
    /// The part of `replay` that [`Input::ReleaseRetained`](super::Input::ReleaseRetained) releases.
    pub retained: usize,
}

impl<S> Session<S> {
    pub fn memory_use(&self) -> MemoryUse {
        let each = |log: &super::TurnLog| log.capacity();
        MemoryUse {
            history: SESSION_BYTES + SUBSCRIBER_BYTES * self.subscribers.len() + self.history.capacity(),
            queued: self.queue.capacity(),
            replay: self.logs.iter().map(each).sum(),
            retained: self.logs.iter().take(self.retained_logs()).map(each).sum(),
        }
    }

    /// Whether an answer is being written.
    pub fn is_answering(&self) -> bool {
        self.run.is_some()
    }

    /// Bytes of text in the newest log: a cheap way to see when to call [`Session::memory_use`] again.
    pub fn newest_bytes(&self) -> usize {
        self.logs.back().map_or(0, super::TurnLog::len)
    }

    /// The number of logs that are kept only for replay, or for subscribers that are at least one turn behind.
    fn retained_logs(&self) -> usize {
        match self.logs.len() {
            all if self.subscribers.is_empty() => all - usize::from(self.run.is_some()),
            // Closing the only subscriber would end the running answer.
            _ if self.retention.is_none() && self.run.is_some() => 0,
            all => all.saturating_sub(1),
        }
    }

    /// Releases finished answers because memory is low. A subscriber that is still reading an earlier turn than the newest
    /// is closed.
    pub(super) fn release_retained(&mut self, fx: &mut Vec<Effect<S>>) {
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
