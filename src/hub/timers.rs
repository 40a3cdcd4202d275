//! When the sessions of one worker are to be woken: one ordered table instead of timers.
use super::session_actor::SessionActor;
use crate::chat::SessionId;
use actix::WeakAddr;
use std::{cell::RefCell, collections::BTreeMap, time::Duration};

/// Looked at by the worker's reaper. A session stands in it once at most.
#[derive(Default)]
pub(super) struct Wakes(RefCell<BTreeMap<(Duration, u64), WeakAddr<SessionActor>>>);

impl Wakes {
    /// Moves a session from the time that it asked for before to the one that it asks for now.
    pub(super) fn set(
        &self,
        id: SessionId,
        before: Option<Duration>,
        at: Option<Duration>,
        session: impl FnOnce() -> WeakAddr<SessionActor>,
    ) {
        self.forget(id, before);
        if let Some(at) = at {
            self.0.borrow_mut().insert((at, id.0), session());
        }
    }

    pub(super) fn forget(&self, id: SessionId, at: Option<Duration>) {
        if let Some(at) = at {
            self.0.borrow_mut().remove(&(at, id.0));
        }
    }

    /// Takes those out whose time has come.
    pub(super) fn due(&self, now: Duration) -> Vec<WeakAddr<SessionActor>> {
        let mut table = self.0.borrow_mut();
        let mut due = Vec::new();
        while let Some(first) = table.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        due
    }
}
