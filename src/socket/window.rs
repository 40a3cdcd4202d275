//! Credit: how much may be on its way to one socket, from any sender on any thread.
use crate::mailbox;
use actix::prelude::*;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

/// How much one socket can still take. Shared by all that send to it and by the task that writes.
pub struct SendWindow {
    /// Cost of what was sent and is not yet with the kernel.
    unflushed: AtomicUsize,
    /// The list of waiters is not empty.
    any_waits: AtomicBool,
    limit: usize,
    /// Senders that were refused, each once, in the order of their refusal.
    waiters: Mutex<Vec<Waiter>>,
}

/// A sender that was refused.
struct Waiter {
    id: u64,
    recipient: Recipient<Ready>,
}

/// A sender that waited can send again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Ready {
    /// What the sender gave to [`SendWindow::wait`].
    pub id: u64,
}

impl SendWindow {
    /// Beyond `limit` bytes on their way, senders are refused.
    pub fn new(limit: usize) -> Self {
        SendWindow {
            unflushed: AtomicUsize::new(0),
            any_waits: AtomicBool::new(false),
            limit,
            waiters: Mutex::default(),
        }
    }

    /// Nothing is on its way.
    pub fn is_clear(&self) -> bool {
        self.unflushed.load(SeqCst) == 0
    }

    /// Charges what is sent.
    pub fn charge(&self, cost: usize) {
        if cost > 0 {
            self.unflushed.fetch_add(cost, SeqCst);
        }
    }

    /// Takes a charge back: it was not sent after all.
    pub fn refund(&self, cost: usize) {
        self.unflushed.fetch_sub(cost, SeqCst);
    }

    /// Whether there is room for a push; otherwise the sender waits. One push of each sender may go beyond the
    /// limit, so the bound is the limit and one push for each thread.
    pub fn has_room(&self, id: u64, recipient: impl FnOnce() -> Recipient<Ready>) -> bool {
        let has_room = || self.unflushed.load(SeqCst) < self.limit;
        if has_room() {
            return true;
        }
        self.wait(id, recipient);
        // All may have been written in between, before the writer could see who waits.
        has_room()
    }

    /// The next [`SendWindow::release`] sends [`Ready`] once.
    pub fn wait(&self, id: u64, recipient: impl FnOnce() -> Recipient<Ready>) {
        let mut waiters = self.waiters();
        if waiters.iter().all(|waiter| waiter.id != id) {
            waiters.push(Waiter { id, recipient: recipient() });
        }
        drop(waiters);
        self.any_waits.store(true, SeqCst);
    }

    /// For the writer: what was charged with this cost is with the kernel.
    pub fn release(&self, cost: usize) {
        if cost > 0 {
            self.unflushed.fetch_sub(cost, SeqCst);
        }
        if self.any_waits.load(SeqCst) && self.any_waits.swap(false, SeqCst) {
            // In order: one that is refused again waits behind the others.
            for Waiter { id, recipient } in std::mem::take(&mut *self.waiters()) {
                mailbox::notify(&recipient, Ready { id });
            }
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Vec<Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
