//! The table of live chats: who owns them, and which one is evicted for another. Pure.
//!
//! Capacity is shared between client sources (see [`Source`]) without fixed quotas: when the table is full,
//! the source with the most chats loses one. A chat counts for the source of its last question, so it moves
//! with its user.
//!
//! A chat is idle while its session has no run and no request is in flight to it. Only idle chats are
//! evicted. One that a slow subscriber still receives is evicted only for a source with fewer chats;
//! otherwise slow clients could occupy the whole table. A request is counted under the same lock as the
//! lookup of its session, so a session is never evicted when a request is about to reach it.
use crate::{
    chat::{ChatKey, Principal, SessionId, Source},
    session::Occupancy,
};
use slab::Slab;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
};

/// Maximum number of chats, in total and per principal; a new chat beyond it evicts an idle one or is
/// rejected.
#[derive(Clone, Copy, Debug)]
pub struct ChatLimits {
    pub chats: usize,
    pub per_principal: usize,
}

impl Default for ChatLimits {
    fn default() -> Self {
        ChatLimits { chats: usize::MAX, per_principal: usize::MAX }
    }
}

/// A limit is reached and no chat can be evicted for the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Eviction order of a source's idle chats: first those that retain nothing, then those with a retained
/// answer, then those with a slow subscriber; the longest idle first within each.
type EvictionRank = (Occupancy, u64);

/// The chats of all workers; `T` is the handle of a chat's session. Every operation is O(log n).
#[derive(Debug)]
pub struct ChatTable<T> {
    limits: ChatLimits,
    chats: Slab<Chat<T>>,
    slots: HashMap<ChatKey, usize>,
    /// Number of chats by principal and by source, without zeros.
    owners: HashMap<Principal, usize>,
    sources: HashMap<Source, usize>,
    /// Slots of idle chats.
    idle_by_source: BTreeMap<(Source, EvictionRank), usize>,
    /// Slots of idle chats that retain nothing, the longest idle first.
    quiet_by_owner: BTreeMap<(Principal, u64), usize>,
    /// Sources with an idle chat, by their number of chats and then by the rank of the chat to be evicted;
    /// the last source loses a chat first.
    by_count: BTreeSet<(usize, Reverse<EvictionRank>, Source)>,
    /// Incremented each time a chat becomes idle.
    clock: u64,
}

#[derive(Debug)]
struct Chat<T> {
    key: ChatKey,
    session: SessionId,
    handle: T,
    source: Source,
    /// The session's last report.
    occupancy: Occupancy,
    /// Requests sent to the session that it has not handled yet.
    in_flight: usize,
    /// Value of the clock when it became idle.
    since: u64,
}

impl<T> Chat<T> {
    /// Its eviction rank, while it is idle.
    fn rank(&self) -> Option<EvictionRank> {
        let is_idle = self.in_flight == 0 && self.occupancy != Occupancy::InUse;
        is_idle.then_some((self.occupancy, self.since))
    }
}

impl<T> ChatTable<T> {
    pub fn new(limits: ChatLimits) -> Self {
        ChatTable {
            limits,
            chats: Slab::new(),
            slots: HashMap::new(),
            owners: HashMap::new(),
            sources: HashMap::new(),
            idle_by_source: BTreeMap::new(),
            quiet_by_owner: BTreeMap::new(),
            by_count: BTreeSet::new(),
            clock: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.chats.len()
    }

    pub fn is_empty(&self) -> bool {
        self.chats.is_empty()
    }

    /// Number of chats that count for a source.
    pub fn chats_of(&self, source: Source) -> usize {
        self.sources.get(&source).copied().unwrap_or_default()
    }

    /// Looks up a session without protecting it from eviction.
    pub fn get(&self, key: &ChatKey) -> Option<(SessionId, &T)> {
        let chat = &self.chats[*self.slots.get(key)?];
        Some((chat.session, &chat.handle))
    }

    /// Looks up a session for a request that is about to be sent to it: the chat is in use until
    /// [`ChatTable::delivered`]. `asks` is the source of a question; the chat counts for that source from now
    /// on.
    pub fn send_to(&mut self, key: &ChatKey, asks: Option<Source>) -> Option<(SessionId, &T)> {
        let slot = *self.slots.get(key)?;
        self.change(slot, |chat| {
            chat.in_flight += 1;
            chat.source = asks.unwrap_or(chat.source);
        });
        let chat = &self.chats[slot];
        Some((chat.session, &chat.handle))
    }

    /// Makes room for a new chat of this principal and source. Returns the evicted chat, if one had to be
    /// evicted.
    ///
    /// All chats that could be evicted are in use. At the limit per principal, only a chat that retains
    /// nothing is evicted; one with a retained answer is evicted only when the table is full.
    pub fn make_room(&mut self, principal: Principal, source: Source) -> Result<Option<T>, NoRoom> {
        if self.owners.get(&principal).is_some_and(|own| *own >= self.limits.per_principal) {
            let mut own = self.quiet_by_owner.range((principal, 0)..=(principal, u64::MAX));
            let slot = *own.next().ok_or(NoRoom)?.1;
            return Ok(self.remove_slot(slot));
        }
        if self.chats.len() < self.limits.chats {
            return Ok(None);
        }
        let (places, Reverse((occupancy, _)), largest) = *self.by_count.last().ok_or(NoRoom)?;
        if occupancy == Occupancy::Unread && places <= self.chats_of(source) + 1 {
            return Err(NoRoom); // Eviction would not make the shares more equal.
        }
        Ok(self.evict_of(largest))
    }

    /// Inserts a new chat, with the question that created it in flight. [`ChatTable::make_room`] must have
    /// succeeded.
    pub fn insert(&mut self, key: ChatKey, session: SessionId, source: Source, handle: T) {
        debug_assert!(!self.slots.contains_key(&key) && self.chats.len() < self.limits.chats);
        let occupancy = Occupancy::InUse;
        *self.owners.entry(key.principal).or_default() += 1;
        let slot = self.chats.insert(Chat {
            key: key.clone(),
            session,
            handle,
            source,
            occupancy,
            in_flight: 1,
            since: 0,
        });
        self.slots.insert(key, slot);
        self.index(slot);
    }

    /// Records that a request has reached its session.
    pub fn delivered(&mut self, key: &ChatKey, session: SessionId) {
        if let Some(slot) = self.slot_of(key, session) {
            self.change(slot, |chat| chat.in_flight = chat.in_flight.saturating_sub(1));
        }
    }

    /// Records what an eviction of the session would lose.
    pub fn report(&mut self, key: &ChatKey, session: SessionId, occupancy: Occupancy) {
        if let Some(slot) = self.slot_of(key, session) {
            self.change(slot, |chat| chat.occupancy = occupancy);
        }
    }

    /// Removes the chat of an ended session. A newer session of the same chat stays.
    pub fn remove(&mut self, key: &ChatKey, session: SessionId) -> Option<T> {
        let slot = self.slot_of(key, session)?;
        self.remove_slot(slot)
    }

    /// Evicts the first idle chat of a source in eviction order.
    pub fn evict_of(&mut self, source: Source) -> Option<T> {
        let slot = self.next_of(source)?.1;
        self.remove_slot(slot)
    }

    fn slot_of(&self, key: &ChatKey, session: SessionId) -> Option<usize> {
        let slot = *self.slots.get(key)?;
        (self.chats[slot].session == session).then_some(slot)
    }

    /// The next chat of a source to be evicted.
    fn next_of(&self, source: Source) -> Option<(EvictionRank, usize)> {
        let all = (source, (Occupancy::Quiet, 0))..=(source, (Occupancy::InUse, u64::MAX));
        self.idle_by_source.range(all).next().map(|((_, rank), slot)| (*rank, *slot))
    }

    /// Changes a chat and updates the indexes.
    fn change(&mut self, slot: usize, change: impl FnOnce(&mut Chat<T>)) {
        self.unindex(slot);
        let chat = &mut self.chats[slot];
        let was_idle = chat.rank().is_some();
        change(chat);
        if chat.rank().is_some() && !was_idle {
            self.clock += 1;
            chat.since = self.clock;
        }
        self.index(slot);
    }

    fn remove_slot(&mut self, slot: usize) -> Option<T> {
        self.unindex(slot);
        let chat = self.chats.try_remove(slot)?;
        self.slots.remove(&chat.key);
        count_down(self.owners.entry(chat.key.principal));
        Some(chat.handle)
    }

    /// Adds a chat to the counters and, if idle, to the indexes.
    fn index(&mut self, slot: usize) {
        let chat = &self.chats[slot];
        let (principal, source, rank) = (chat.key.principal, chat.source, chat.rank());
        self.remove_candidate(source);
        *self.sources.entry(source).or_default() += 1;
        if let Some(rank) = rank {
            self.idle_by_source.insert((source, rank), slot);
            if rank.0 == Occupancy::Quiet {
                self.quiet_by_owner.insert((principal, rank.1), slot);
            }
        }
        self.add_candidate(source);
    }

    /// Undoes [`ChatTable::index`].
    fn unindex(&mut self, slot: usize) {
        let chat = &self.chats[slot];
        let (principal, source, rank) = (chat.key.principal, chat.source, chat.rank());
        self.remove_candidate(source);
        count_down(self.sources.entry(source));
        if let Some(rank) = rank {
            self.idle_by_source.remove(&(source, rank));
            self.quiet_by_owner.remove(&(principal, rank.1));
        }
        self.add_candidate(source);
    }

    fn remove_candidate(&mut self, source: Source) {
        if let Some((rank, _)) = self.next_of(source) {
            self.by_count.remove(&(self.chats_of(source), Reverse(rank), source));
        }
    }

    fn add_candidate(&mut self, source: Source) {
        if let Some((rank, _)) = self.next_of(source) {
            self.by_count.insert((self.chats_of(source), Reverse(rank), source));
        }
    }
}

/// Decrements a counter and removes it at zero.
fn count_down<K>(entry: Entry<'_, K, usize>) {
    if let Entry::Occupied(mut count) = entry {
        *count.get_mut() = count.get().saturating_sub(1);
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests;
