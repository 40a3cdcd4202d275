//! How much of a session's text one reader may still take, shared by the session that pushes and
//! the connection that writes. Works across threads.
use super::session_actor::{ReaderReady, SessionActor};
use crate::chat::ReaderId;
use actix::Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

pub struct Window {
    session: Addr<SessionActor>,
    reader: ReaderId,
    /// Cost of pushes that were sent and are not yet with the kernel.
    unflushed: AtomicUsize,
    /// The session was refused and wants to hear when there is room.
    hungry: AtomicBool,
    limit: usize,
}

impl Window {
    pub fn new(session: Addr<SessionActor>, reader: ReaderId, limit: usize) -> Self {
        Window { session, reader, unflushed: AtomicUsize::new(0), hungry: AtomicBool::new(false), limit }
    }

    /// For the session: takes room for a push, unless the reader is behind already. One push may
    /// go beyond the limit, so that the bound is the limit and one push.
    pub fn take(&self, cost: usize) -> bool {
        let has_room = || self.unflushed.load(SeqCst) < self.limit;
        if !has_room() {
            self.hungry.store(true, SeqCst);
            // The connection may have flushed in between, and then it saw no hunger.
            if !has_room() {
                return false;
            }
        }
        self.unflushed.fetch_add(cost, SeqCst);
        true
    }

    /// For the session: a push was refused by the mailbox.
    pub fn give_back(&self, cost: usize) {
        self.unflushed.fetch_sub(cost, SeqCst);
    }

    /// For the session: from now on [`Window::release`] sends [`ReaderReady`] once.
    pub fn ask(&self) {
        self.hungry.store(true, SeqCst);
    }

    /// For the connection: pushes of this cost are with the kernel.
    pub fn release(&self, cost: usize) {
        if cost > 0 {
            self.unflushed.fetch_sub(cost, SeqCst);
        }
        if self.hungry.load(SeqCst) && self.hungry.swap(false, SeqCst) {
            // A new address has a place of its own in the mailbox: this is never refused.
            let _ = self.session.clone().try_send(ReaderReady { reader: self.reader });
        }
    }
}
