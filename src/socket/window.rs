//! How much may be on its way to one socket, whoever sends and from whichever thread.
use actix::prelude::*;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

/// How much one socket may still take, shared by the sessions that push and the connection that
/// writes.
pub struct Window {
    /// Cost of pushes that were sent and are not yet with the kernel.
    unflushed: AtomicUsize,
    /// Somebody in the list wants to hear when there is room.
    any_hungry: AtomicBool,
    limit: usize,
    /// Those who were refused, each once: at most as many as read on this socket.
    hungry: Mutex<Vec<Hungry>>,
}

/// One who was refused, and the way to it.
pub struct Hungry {
    pub id: u64,
    pub recipient: Recipient<Ready>,
}

/// A refused one can send more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ready {
    pub id: u64,
}

impl Window {
    pub fn new(limit: usize) -> Self {
        Window {
            unflushed: AtomicUsize::new(0),
            any_hungry: AtomicBool::new(false),
            limit,
            hungry: Mutex::default(),
        }
    }

    /// Nothing is on its way.
    pub fn is_clear(&self) -> bool {
        self.unflushed.load(SeqCst) == 0
    }

    pub fn add(&self, cost: usize) {
        if cost > 0 {
            self.unflushed.fetch_add(cost, SeqCst);
        }
    }

    /// Whether there is room for a push; otherwise `hungry` is asked for. One push of each session may
    /// go beyond the limit, so that the bound is the limit and one push for each thread.
    pub fn has_room(&self, hungry: impl FnOnce() -> Hungry) -> bool {
        let has_room = || self.unflushed.load(SeqCst) < self.limit;
        if has_room() {
            return true;
        }
        self.ask(hungry());
        // The connection may have flushed in between, and then it saw no hunger.
        has_room()
    }

    /// A push was refused by the mailbox.
    pub fn give_back(&self, cost: usize) {
        self.unflushed.fetch_sub(cost, SeqCst);
    }

    /// The next [`Window::release`] sends [`Ready`] once.
    pub fn ask(&self, hungry: Hungry) {
        let mut list = self.list();
        if list.iter().all(|known| known.id != hungry.id) {
            list.push(hungry);
        }
        drop(list);
        self.any_hungry.store(true, SeqCst);
    }

    /// For the connection: pushes of this cost are with the kernel.
    pub fn release(&self, cost: usize) {
        if cost > 0 {
            self.unflushed.fetch_sub(cost, SeqCst);
        }
        if self.any_hungry.load(SeqCst) && self.any_hungry.swap(false, SeqCst) {
            // In the order of their coming: who is refused again waits behind the others.
            for Hungry { id, recipient } in std::mem::take(&mut *self.list()) {
                // The recipient is new, so it has a place of its own in the mailbox: this is never refused.
                let _ = recipient.try_send(Ready { id });
            }
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Hungry>> {
        self.hungry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
