//! When the sessions of one worker are to be woken: one ordered table instead of timers.
use crate::chat::SessionId;
use std::{cell::RefCell, collections::BTreeSet, time::Duration};

/// Read by the worker's heartbeat. A session is in it at most once.
#[derive(Default)]
pub struct Timers(RefCell<BTreeSet<(Duration, SessionId)>>);

impl Timers {
    /// Moves a session from the time that it asked for before to the one that it asks for now.
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

    /// Takes those out whose time has come.
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
