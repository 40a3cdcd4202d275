//! Which chats are kept, whose they are, and which of them makes room for another. Pure.
//!
//! Places are shared between the sources of clients (see [`Source`]). There is no fixed share: when every place is
//! taken, a source that holds more places than the others gives one up. A chat counts for the source that asked
//! in it last, so that it moves with its user.
//!
//! A chat is idle while its session has no run and no request is on its way to it. Only idle chats are evicted, and
//! one that a slow reader still receives only for a source with fewer places: otherwise clients that read
//! slowly could keep every place. Because a request is counted under the same lock as the look-up that it begins
//! with, no session is evicted that is about to be joined.
use crate::{
    chat::{ChatKey, Principal, SessionId, Source},
    session::Occupancy,
};
use slab::Slab;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
};

/// Chats that may be kept.
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

/// A chat is to begin while a cap is reached and no chat can be evicted for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// The order in which the idle chats of a source are evicted: those that keep nothing, those that keep an answer,
/// and those with a slow reader; of each the longest idle first.
type Turn = (Occupancy, u64);

/// The chats of all workers; `T` leads to a chat's session. Every operation takes O(log n).
#[derive(Debug)]
pub struct ChatTable<T> {
    caps: ChatLimits,
    chats: Slab<Chat<T>>,
    slots: HashMap<ChatKey, usize>,
    /// Chats of each principal and of each source; none has a count of zero.
    owners: HashMap<Principal, usize>,
    sources: HashMap<Source, usize>,
    /// The slots of idle chats.
    idle_by_source: BTreeMap<(Source, Turn), usize>,
    /// Of these, the ones that keep nothing, longest idle first.
    quiet_by_owner: BTreeMap<(Principal, u64), usize>,
    /// Sources that have an idle chat, by the places they hold and then by which chat would be evicted: the last
    /// one gives up a chat first.
    by_places: BTreeSet<(usize, Reverse<Turn>, Source)>,
    /// Counts the moments at which chats became idle.
    clock: u64,
}

#[derive(Debug)]
struct Chat<T> {
    key: ChatKey,
    session: SessionId,
    handle: T,
    source: Source,
    /// What the session last reported.
    occupancy: Occupancy,
    /// Requests that were sent to the session and that it has not taken yet.
    on_their_way: usize,
    /// When it became idle, while it is.
    since: u64,
}

impl<T> Chat<T> {
    /// Its turn among the chats of its source, while it is idle.
    fn turn(&self) -> Option<Turn> {
        let is_idle = self.on_their_way == 0 && self.occupancy != Occupancy::InUse;
        is_idle.then_some((self.occupancy, self.since))
    }
}

impl<T> ChatTable<T> {
    pub fn new(caps: ChatLimits) -> Self {
        ChatTable {
            caps,
            chats: Slab::new(),
            slots: HashMap::new(),
            owners: HashMap::new(),
            sources: HashMap::new(),
            idle_by_source: BTreeMap::new(),
            quiet_by_owner: BTreeMap::new(),
            by_places: BTreeSet::new(),
            clock: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.chats.len()
    }

    pub fn is_empty(&self) -> bool {
        self.chats.is_empty()
    }

    /// Chats that count for this source.
    pub fn places_of(&self, source: Source) -> usize {
        self.sources.get(&source).copied().unwrap_or_default()
    }

    /// The session of a chat, for a look that changes nothing and keeps nothing from being evicted.
    pub fn get(&self, key: &ChatKey) -> Option<(SessionId, &T)> {
        let chat = &self.chats[*self.slots.get(key)?];
        Some((chat.session, &chat.handle))
    }

    /// The session of a chat, for a request that is about to be sent to it: until [`ChatTable::taken`] the chat is
    /// in use. `asks` is where a question comes from; the chat counts for that source from now on.
    pub fn send_to(&mut self, key: &ChatKey, asks: Option<Source>) -> Option<(SessionId, &T)> {
        let slot = *self.slots.get(key)?;
        self.change(slot, |chat| {
            chat.on_their_way += 1;
            chat.source = asks.unwrap_or(chat.source);
        });
        let chat = &self.chats[slot];
        Some((chat.session, &chat.handle))
    }

    /// Makes sure that a chat of this principal, asked for from `source`, can be inserted; what was evicted for it, where that was needed.
    ///
    /// # Errors
    /// Every chat that could make room is in use. One that keeps an answer does not make room for its own
    /// principal's next chat, only where all places are taken.
    pub fn make_room(&mut self, principal: Principal, source: Source) -> Result<Option<T>, NoRoom> {
        if self.owners.get(&principal).is_some_and(|own| *own >= self.caps.per_principal) {
            let mut own = self.quiet_by_owner.range((principal, 0)..=(principal, u64::MAX));
            let slot = *own.next().ok_or(NoRoom)?.1;
            return Ok(self.take_out(slot));
        }
        if self.chats.len() < self.caps.chats {
            return Ok(None);
        }
        let (places, Reverse((occupancy, _)), largest) = *self.by_places.last().ok_or(NoRoom)?;
        if occupancy == Occupancy::Unread && places <= self.places_of(source) + 1 {
            return Err(NoRoom); // It would make the shares no more equal.
        }
        Ok(self.evict_of(largest))
    }

    /// Enters a chat that is not there, with the question that it was made for on its way. Room was made before.
    pub fn insert(&mut self, key: ChatKey, session: SessionId, source: Source, handle: T) {
        debug_assert!(!self.slots.contains_key(&key) && self.chats.len() < self.caps.chats);
        let occupancy = Occupancy::InUse;
        *self.owners.entry(key.principal).or_default() += 1;
        let slot = self.chats.insert(Chat {
            key: key.clone(),
            session,
            handle,
            source,
            occupancy,
            on_their_way: 1,
            since: 0,
        });
        self.slots.insert(key, slot);
        self.enter(slot);
    }

    /// A request has reached the session.
    pub fn taken(&mut self, key: &ChatKey, session: SessionId) {
        if let Some(slot) = self.slot_of(key, session) {
            self.change(slot, |chat| chat.on_their_way = chat.on_their_way.saturating_sub(1));
        }
    }

    /// What would be lost with the session now.
    pub fn report(&mut self, key: &ChatKey, session: SessionId, occupancy: Occupancy) {
        if let Some(slot) = self.slot_of(key, session) {
            self.change(slot, |chat| chat.occupancy = occupancy);
        }
    }

    /// Takes a chat out whose session is no more. Another session of the same name stays.
    pub fn remove(&mut self, key: &ChatKey, session: SessionId) -> Option<T> {
        let slot = self.slot_of(key, session)?;
        self.take_out(slot)
    }

    /// Evicts the longest idle chat of a source.
    pub fn evict_of(&mut self, source: Source) -> Option<T> {
        let slot = self.next_of(source)?.1;
        self.take_out(slot)
    }

    fn slot_of(&self, key: &ChatKey, session: SessionId) -> Option<usize> {
        let slot = *self.slots.get(key)?;
        (self.chats[slot].session == session).then_some(slot)
    }

    /// The chat of a source that is evicted next.
    fn next_of(&self, source: Source) -> Option<(Turn, usize)> {
        let all = (source, (Occupancy::Quiet, 0))..=(source, (Occupancy::InUse, u64::MAX));
        self.idle_by_source.range(all).next().map(|((_, turn), slot)| (*turn, *slot))
    }

    /// Changes a chat and what is known of it elsewhere.
    fn change(&mut self, slot: usize, change: impl FnOnce(&mut Chat<T>)) {
        self.leave(slot);
        let chat = &mut self.chats[slot];
        let was_idle = chat.turn().is_some();
        change(chat);
        if chat.turn().is_some() && !was_idle {
            self.clock += 1;
            chat.since = self.clock;
        }
        self.enter(slot);
    }

    fn take_out(&mut self, slot: usize) -> Option<T> {
        self.leave(slot);
        let chat = self.chats.try_remove(slot)?;
        self.slots.remove(&chat.key);
        count_down(self.owners.entry(chat.key.principal));
        Some(chat.handle)
    }

    /// Counts a chat for its source, and notes it as idle where it is.
    fn enter(&mut self, slot: usize) {
        let chat = &self.chats[slot];
        let (principal, source, turn) = (chat.key.principal, chat.source, chat.turn());
        self.unrank(source);
        *self.sources.entry(source).or_default() += 1;
        if let Some(turn) = turn {
            self.idle_by_source.insert((source, turn), slot);
            if turn.0 == Occupancy::Quiet {
                self.quiet_by_owner.insert((principal, turn.1), slot);
            }
        }
        self.rank(source);
    }

    /// Undoes [`ChatTable::enter`].
    fn leave(&mut self, slot: usize) {
        let chat = &self.chats[slot];
        let (principal, source, turn) = (chat.key.principal, chat.source, chat.turn());
        self.unrank(source);
        count_down(self.sources.entry(source));
        if let Some(turn) = turn {
            self.idle_by_source.remove(&(source, turn));
            self.quiet_by_owner.remove(&(principal, turn.1));
        }
        self.rank(source);
    }

    fn unrank(&mut self, source: Source) {
        if let Some((turn, _)) = self.next_of(source) {
            self.by_places.remove(&(self.places_of(source), Reverse(turn), source));
        }
    }

    fn rank(&mut self, source: Source) {
        if let Some((turn, _)) = self.next_of(source) {
            self.by_places.insert((self.places_of(source), Reverse(turn), source));
        }
    }
}

/// One less; a count of zero is taken out.
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
