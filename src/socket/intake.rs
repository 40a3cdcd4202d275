//! Divides one worker's read budget among client networks. Pure.
//!
//! Unmasking, validating and parsing input takes CPU time from every socket of the thread. The budget is
//! counted per tick. Up to one part of it nothing is charged to a source, so ordinary traffic never waits.
//! Beyond that, each source has an equal share of the tick; a socket whose source has used its share is not
//! read until the next tick, which its peer sees as TCP back-pressure. The last part of each tick is reserved
//! for sources that have read little.
use crate::chat::Source;
use std::{
    collections::{BTreeMap, HashMap},
    task::Waker,
};

/// Parts of a tick's budget: the first is not charged, the last is reserved for sources that have read
/// little.
const PARTS: usize = 8;
/// A source has read little while it is charged no more than the budget divided by this.
const LITTLE: usize = 64;
/// Minimum charge of a read in bytes: the smallest frame costs about as much CPU time as parsing this many
/// bytes.
const READ_MIN: usize = 2 * 1024;
/// Maximum number of waiting sockets resumed per tick; the rest stay queued.
const WAKES_MAX: usize = 1024;

/// The read budget of one worker, per tick of its coarse clock.
#[derive(Debug)]
pub struct Intake {
    /// Budget per tick in bytes.
    bytes: usize,
    used: usize,
    /// Bytes charged to each source in this tick.
    by_source: HashMap<Source, usize>,
    /// Share of each source in this tick, in bytes.
    share: usize,
    /// Waiting sockets by source.
    waiting: HashMap<Source, Queue>,
    /// The same sources in round-robin order.
    turns: BTreeMap<u64, Source>,
    /// Next number of a ticket or turn.
    next: u64,
}

/// Waiting sockets of one source in order of arrival.
#[derive(Debug)]
struct Queue {
    turn: u64,
    sockets: BTreeMap<u64, Waker>,
}

/// The queue entry of a waiting socket.
#[derive(Debug, PartialEq, Eq)]
pub struct WaitTicket(u64);

impl Intake {
    /// `bytes` is the budget per tick.
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.max(PARTS);
        Intake {
            bytes,
            used: 0,
            by_source: HashMap::new(),
            share: share_of(bytes, 1),
            waiting: HashMap::new(),
            turns: BTreeMap::new(),
            next: 0,
        }
    }

    /// Whether a socket of `source` may be read now. If not, it is queued under `ticket` and woken in a later
    /// tick.
    pub fn may_read(&mut self, source: Source, ticket: &mut Option<WaitTicket>, waker: &Waker) -> bool {
        if self.has_room(source) {
            self.leave(source, ticket);
            return true;
        }
        let number = self.next;
        let queue = self.waiting.entry(source).or_insert_with(|| {
            self.turns.insert(number, source);
            Queue { turn: number, sockets: BTreeMap::new() }
        });
        match ticket.as_ref().and_then(|WaitTicket(number)| queue.sockets.get_mut(number)) {
            Some(waiting) => waiting.clone_from(waker),
            None => {
                queue.sockets.insert(number, waker.clone());
                *ticket = Some(WaitTicket(number));
                self.next += 1;
            }
        }
        false
    }

    /// Charges a read of `bytes` to `source`.
    pub fn count(&mut self, source: Source, bytes: usize) {
        let bytes = bytes.max(READ_MIN);
        if self.used >= self.bytes / PARTS {
            *self.by_source.entry(source).or_default() += bytes;
        }
        self.used += bytes;
    }

    /// Removes a socket from the queue, because it may read or is closed.
    pub fn leave(&mut self, source: Source, ticket: &mut Option<WaitTicket>) {
        let Some(WaitTicket(number)) = ticket.take() else { return };
        let Some(queue) = self.waiting.get_mut(&source) else { return };
        queue.sockets.remove(&number);
        if queue.sockets.is_empty() {
            self.turns.remove(&queue.turn);
            self.waiting.remove(&source);
        }
    }

    /// Starts the next tick. Returns the wakers of the sockets that may try again, taken from the sources in
    /// turn.
    pub fn tick(&mut self) -> Vec<Waker> {
        let little = self.bytes / LITTLE;
        let waits = |source: &Source| self.waiting.contains_key(source);
        let large =
            self.by_source.iter().filter(|(source, bytes)| **bytes > little && !waits(source)).count();
        self.share = share_of(self.bytes, large + self.waiting.len());
        self.used = 0;
        if !self.by_source.is_empty() {
            self.by_source = HashMap::new();
        }
        let mut woken = Vec::new();
        while woken.len() < WAKES_MAX
            && let Some((_, source)) = self.turns.pop_first()
        {
            let Some(queue) = self.waiting.get_mut(&source) else { continue };
            woken.extend(queue.sockets.pop_first().map(|(_, waker)| waker));
            if queue.sockets.is_empty() {
                self.waiting.remove(&source);
            } else {
                queue.turn = self.next;
                self.turns.insert(self.next, source);
                self.next += 1;
            }
        }
        woken
    }

    fn has_room(&self, source: Source) -> bool {
        let part = self.bytes / PARTS;
        if self.used < part {
            return true;
        }
        let own = self.by_source.get(&source).copied().unwrap_or_default();
        let reserve_from = self.bytes - part;
        (self.used < reserve_from && own < self.share)
            || (self.used < self.bytes && own <= self.bytes / LITTLE)
    }
}

/// Share of each of `sources` heavy readers, in bytes per tick.
fn share_of(bytes: usize, sources: usize) -> usize {
    let shared = bytes - 2 * (bytes / PARTS);
    shared / sources.max(1)
}

#[cfg(test)]
mod tests;
