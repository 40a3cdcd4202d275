//! Flow-control credit: how many bytes may be in flight to one socket, from senders on any thread.
use crate::mailbox;
use actix::prelude::*;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

/// The remaining credit of one socket, shared by its senders and its task.
pub struct SendWindow {
    /// Cost in bytes of what was sent and the kernel has not accepted.
    unflushed: AtomicUsize,
    /// The list of waiters is not empty.
    any_waits: AtomicBool,
    limit: usize,
    /// Rejected senders, each once, in order.
    waiters: Mutex<Vec<Waiter>>,
}

/// A rejected sender.
struct Waiter {
    id: u64,
    recipient: Recipient<Ready>,
}

/// Notifies a waiting sender that it can send again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Ready {
    /// The id given to [`SendWindow::wait`].
    pub id: u64,
}

impl SendWindow {
    /// Senders are rejected while `limit` bytes or more are in flight.
    pub fn new(limit: usize) -> Self {
        SendWindow {
            unflushed: AtomicUsize::new(0),
            any_waits: AtomicBool::new(false),
            limit,
            waiters: Mutex::default(),
        }
    }

    /// Whether nothing is in flight.
    pub fn is_clear(&self) -> bool {
        self.unflushed.load(SeqCst) == 0
    }

    /// Charges a push.
    pub fn charge(&self, cost: usize) {
        if cost > 0 {
            self.unflushed.fetch_add(cost, SeqCst);
        }
    }

    /// Reverts a charge: the push was not sent.
    pub fn refund(&self, cost: usize) {
        self.unflushed.fetch_sub(cost, SeqCst);
    }

    /// Whether there is credit for a push; if not, the sender is queued. A push may exceed the limit, so the
    /// bound is the limit plus one push per thread.
    pub fn has_room(&self, id: u64, recipient: impl FnOnce() -> Recipient<Ready>) -> bool {
        let has_room = || self.unflushed.load(SeqCst) < self.limit;
        if has_room() {
            return true;
        }
        self.wait(id, recipient);
        // Everything may have been written in between, before the writer could see the waiter.
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

    /// Called by the writer when the kernel has accepted output of this cost.
    pub fn release(&self, cost: usize) {
        if cost > 0 {
            self.unflushed.fetch_sub(cost, SeqCst);
        }
        if self.any_waits.load(SeqCst) && self.any_waits.swap(false, SeqCst) {
            // In order: a sender that is rejected again queues behind the others.
            for Waiter { id, recipient } in std::mem::take(&mut *self.waiters()) {
                mailbox::notify(&recipient, Ready { id });
            }
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Vec<Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
