//! Shares what one worker reads from its sockets among client networks. Pure.
//!
//! Unmasking, validating and parsing what clients send takes CPU time from every socket of the thread.
//! Up to a part of the worker's rate nothing is counted, so ordinary use never waits here. Beyond it, each
//! source has a share of a tick; a socket of a source that has used its share is not read until the next
//! tick, and its peer feels that as TCP back-pressure. The last part of each tick belongs to sources that
//! have read little.
use crate::chat::Source;
use std::{
    collections::{BTreeMap, HashMap},
    task::Waker,
};

/// Parts of a tick's bytes: the first is not counted, the last is reserved for sources that read little.
const PARTS: usize = 8;
/// A source that reads less than this part of a tick reads little.
const LITTLE: usize = 64;
/// A read counts as at least this much: the least frame costs about what it costs to parse this many bytes.
const READ_MIN: usize = 2 * 1024;
/// Sockets that are let go on at a tick.
const WAKES_MAX: usize = 1024;

/// What a worker reads, by tick of its coarse clock.
#[derive(Debug)]
pub struct Intake {
    /// Bytes of a tick.
    bytes: usize,
    used: usize,
    /// Counted bytes of this tick.
    by_source: HashMap<Source, usize>,
    /// What each source may read in this tick.
    share: usize,
    /// The sockets that wait, by source.
    waiting: HashMap<Source, Queue>,
    /// The same sources in the order in which they are served.
    turns: BTreeMap<u64, Source>,
    /// Numbers tickets and turns.
    next: u64,
}

/// The sockets of one source that wait, in the order in which they began to.
#[derive(Debug)]
struct Queue {
    turn: u64,
    sockets: BTreeMap<u64, Waker>,
}

/// The place of a socket that waits.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Intake {
    /// `bytes` may be read in a tick.
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

    /// Whether a socket of `source` may be read now. Where not, it waits and is woken at a later tick;
    /// `ticket` is its place.
    pub fn may_read(&mut self, source: Source, ticket: &mut Option<Ticket>, waker: &Waker) -> bool {
        if self.has_room(source) {
            self.leave(source, ticket);
            return true;
        }
        let number = self.next;
        let queue = self.waiting.entry(source).or_insert_with(|| {
            self.turns.insert(number, source);
            Queue { turn: number, sockets: BTreeMap::new() }
        });
        match ticket.as_ref().and_then(|Ticket(number)| queue.sockets.get_mut(number)) {
            Some(waiting) => waiting.clone_from(waker),
            None => {
                queue.sockets.insert(number, waker.clone());
                *ticket = Some(Ticket(number));
                self.next += 1;
            }
        }
        false
    }

    /// A socket of `source` was read.
    pub fn count(&mut self, source: Source, bytes: usize) {
        let bytes = bytes.max(READ_MIN);
        if self.used >= self.bytes / PARTS {
            *self.by_source.entry(source).or_default() += bytes;
        }
        self.used += bytes;
    }

    /// A socket no longer waits, because it is read or gone.
    pub fn leave(&mut self, source: Source, ticket: &mut Option<Ticket>) {
        let Some(Ticket(number)) = ticket.take() else { return };
        let Some(queue) = self.waiting.get_mut(&source) else { return };
        queue.sockets.remove(&number);
        if queue.sockets.is_empty() {
            self.turns.remove(&queue.turn);
            self.waiting.remove(&source);
        }
    }

    /// Begins the next tick; the wakers of those sockets that may try again, sources taking turns.
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

/// The share of one of `sources` sources that read much, in bytes per tick.
fn share_of(bytes: usize, sources: usize) -> usize {
    let shared = bytes - 2 * (bytes / PARTS);
    shared / sources.max(1)
}

#[cfg(test)]
mod tests;
