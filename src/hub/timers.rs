//! Wake-up times of one worker's sessions: one ordered table instead of timers.
use crate::chat::SessionId;
use std::{cell::RefCell, collections::BTreeSet, time::Duration};

/// Polled by the worker's heartbeat. A session has at most one entry.
#[derive(Default)]
pub struct Timers(RefCell<BTreeSet<(Duration, SessionId)>>);

impl Timers {
    /// Replaces a session's wake-up time.
    pub fn set(&self, id: SessionId, before: Option<Duration>, at: Option<Duration>) {
        self.forget(id, before);
        if let Some(at) = at {
            self.0.borrow_mut().insert((at, id));
        }
    }

    pub fn forget(&self, id: SessionId, at: Option<Duration>) {
        if let Some(at) = at {
            self.0.borrow_mut().remove(&(at, id));
        }
    }

    /// Removes and returns the sessions that are due.
    pub fn due(&self, now: Duration) -> Vec<SessionId> {
        let mut table = self.0.borrow_mut();
        let mut due = Vec::new();
        while let Some(&(at, id)) = table.first()
            && at <= now
        {
            table.pop_first();
            due.push(id);
        }
        due
    }
}
