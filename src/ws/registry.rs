//! Who is live: sessions by id, sockets by number and address, and the phase of the process.
use super::{
    letter::ChatKey,
    session_actor::{Bell, SessionActor},
};
use crate::chat::{ChatId, Principal, SessionId};
use actix::{Addr, WeakAddr};
use dashmap::{DashMap, Entry as Place};
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU8, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

/// Live sessions of all workers. An entry is written when a session actor starts and taken out when
/// it is dropped, whether it ended or panicked.
pub struct Registry {
    sessions: DashMap<SessionId, Entry>,
    /// Sessions that are found by name. The address keeps them alive while nobody reads.
    chats: DashMap<ChatKey, Chat>,
    /// How many chats there are, those included for which a place was just taken.
    places: AtomicUsize,
    /// The chats of each principal, in the order of their making.
    owners: DashMap<Principal, Vec<ChatId>>,
    caps: Caps,
}

/// Chats that may be kept.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    pub chats: usize,
    pub per_principal: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Caps { chats: usize::MAX, per_principal: usize::MAX }
    }
}

/// How many chats are looked at for one that can make room, when there are as many as may be.
const LOOKED_AT_MAX: usize = 256;

/// Somebody else may be faster and take the place that was made.
const TRIES_MAX: usize = 3;

struct Chat {
    id: SessionId,
    session: Addr<SessionActor>,
    /// Neither followed nor answering, and nothing in it that somebody may still come for.
    is_quiet: Arc<AtomicBool>,
}

/// A chat is to be begun, and there are as many as may be, all of them in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Where a session lives.
struct Entry {
    worker: usize,
    session: WeakAddr<SessionActor>,
}

impl Registry {
    pub fn new(caps: Caps) -> Self {
        Registry {
            sessions: DashMap::new(),
            chats: DashMap::new(),
            places: AtomicUsize::new(0),
            owners: DashMap::new(),
            caps,
        }
    }

    pub(super) fn insert(&self, id: SessionId, worker: usize, session: WeakAddr<SessionActor>) {
        self.sessions.insert(id, Entry { worker, session });
    }

    pub(super) fn remove(&self, id: SessionId) {
        self.sessions.remove(&id);
    }

    /// The session of a chat, where there is one.
    pub fn chat(&self, key: &ChatKey) -> Option<Addr<SessionActor>> {
        self.chats.get(key).filter(|chat| chat.session.connected()).map(|chat| chat.session.clone())
    }

    /// The session of a chat; `make` makes it where there is none. Two who ask at once get the same. When
    /// there are as many chats as may be, one that is quiet makes room; its principal's own first.
    pub(super) fn chat_or_make(
        &self,
        key: ChatKey,
        id: SessionId,
        make: impl FnOnce(ChatKey, Arc<AtomicBool>) -> Addr<SessionActor>,
    ) -> Result<Addr<SessionActor>, NoRoom> {
        if let Some(session) = self.chat(&key) {
            return Ok(session);
        }
        self.take_place(&key)?;
        match self.chats.entry(key) {
            Place::Occupied(chat) if chat.get().session.connected() => {
                // Somebody was faster.
                let session = chat.get().session.clone();
                let key = chat.key().clone();
                drop(chat);
                self.give_place_back(&key, true);
                Ok(session)
            }
            place => {
                if let Place::Occupied(_) = &place {
                    // It has panicked and not been taken out yet: this one has its place, and its own is free.
                    self.places.fetch_sub(1, SeqCst);
                }
                let is_quiet = Arc::new(AtomicBool::new(false));
                let session = make(place.key().clone(), Arc::clone(&is_quiet));
                place.insert(Chat { id, session: session.clone(), is_quiet });
                Ok(session)
            }
        }
    }

    fn take_place(&self, key: &ChatKey) -> Result<(), NoRoom> {
        let own = self.owners.get(&key.principal).map_or(0, |chats| chats.len());
        if own >= self.caps.per_principal && !self.free_one_of(key.principal) {
            return Err(NoRoom);
        }
        let try_take = || {
            let more = |count: usize| (count < self.caps.chats).then_some(count + 1);
            self.places.fetch_update(SeqCst, SeqCst, more).is_ok()
        };
        let make_room = || (self.free_one_of(key.principal) || self.free_any()) && try_take();
        if !try_take() && !(0..TRIES_MAX).any(|_| make_room()) {
            return Err(NoRoom);
        }
        let mut own = self.owners.entry(key.principal).or_default();
        if !own.contains(&key.chat) {
            own.push(key.chat.clone());
        }
        Ok(())
    }

    /// `is_kept`: the chat is there, only the second place that was taken for it is not needed.
    fn give_place_back(&self, key: &ChatKey, is_kept: bool) {
        self.places.fetch_sub(1, SeqCst);
        if is_kept {
            return;
        }
        self.owners.remove_if_mut(&key.principal, |_, chats| {
            chats.retain(|chat| *chat != key.chat);
            chats.is_empty()
        });
    }

    /// Lets the oldest quiet chat of a principal go.
    fn free_one_of(&self, principal: Principal) -> bool {
        let own = self.owners.get(&principal).map(|chats| chats.clone()).unwrap_or_default();
        own.into_iter().any(|chat| self.free(&ChatKey { principal, chat }))
    }

    /// Lets one of all chats go: a quiet one among some that stand beside each other by chance.
    fn free_any(&self) -> bool {
        let from = fastrand::usize(..self.chats.len().saturating_sub(LOOKED_AT_MAX).max(1));
        let met = self.chats.iter().skip(from).take(LOOKED_AT_MAX);
        let quiet: Vec<ChatKey> =
            met.filter(|chat| chat.is_quiet.load(Relaxed)).map(|chat| chat.key().clone()).collect();
        quiet.iter().any(|key| self.free(key))
    }

    fn free(&self, key: &ChatKey) -> bool {
        let gone = self.chats.remove_if(key, |_, chat| chat.is_quiet.load(Relaxed));
        let Some((key, chat)) = gone else { return false };
        self.give_place_back(&key, false);
        // A new address has a place of its own in the mailbox: this is never refused.
        let _ = chat.session.clone().try_send(Bell::MakeRoom);
        true
    }

    /// It was asked to make room, and somebody had come in the same moment: it is found again, unless
    /// another one has taken its name meanwhile.
    pub(super) fn restore(
        &self,
        key: &ChatKey,
        id: SessionId,
        session: Addr<SessionActor>,
        is_quiet: &Arc<AtomicBool>,
    ) {
        if let Place::Vacant(place) = self.chats.entry(key.clone()) {
            place.insert(Chat { id, session, is_quiet: Arc::clone(is_quiet) });
            self.places.fetch_add(1, SeqCst);
            self.owners.entry(key.principal).or_default().push(key.chat.clone());
        }
    }

    /// Nobody finds this session any more; another one that has taken its place stays.
    pub(super) fn forget_chat(&self, key: &ChatKey, id: SessionId) {
        if self.chats.remove_if(key, |_, chat| chat.id == id).is_some() {
            self.give_place_back(key, false);
        }
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Those sessions of one worker that `which` chooses, for its reaper.
    pub(super) fn of_worker(
        &self,
        worker: usize,
        which: impl Fn(SessionId) -> bool,
    ) -> Vec<WeakAddr<SessionActor>> {
        let here = self.sessions.iter().filter(|entry| entry.worker == worker && which(*entry.key()));
        here.map(|entry| entry.session.clone()).collect()
    }
}

/// What the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
pub enum Phase {
    Starting = 0,
    Ready = 1,
    /// No new sockets; running answers finish.
    Draining = 2,
    /// Sockets are closed whatever they are doing.
    Closing = 3,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
            Phase::Closing => "closing",
        }
    }
}

/// The phase and the sockets of the process. Sockets that were taken over are no longer counted by
/// the server, so the caps are kept here.
pub struct Life {
    phase: AtomicU8,
    sockets: AtomicUsize,
    sockets_max: usize,
    by_address: DashMap<IpAddr, usize>,
    /// 0: no cap.
    per_address_max: usize,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSeat {
    Draining,
    Full,
    AddressFull,
}

impl Life {
    pub fn new(sockets_max: usize, per_address_max: usize) -> Self {
        Life {
            phase: AtomicU8::new(Phase::Starting as u8),
            sockets: AtomicUsize::new(0),
            sockets_max,
            by_address: DashMap::new(),
            per_address_max,
        }
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            2 => Phase::Draining,
            _ => Phase::Closing,
        }
    }

    /// Phases only go forward.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, SeqCst);
    }

    pub fn sockets(&self) -> usize {
        self.sockets.load(SeqCst)
    }

    pub fn sockets_max(&self) -> usize {
        self.sockets_max
    }

    /// Takes a seat for a socket from `address`; dropping the seat gives it back.
    pub fn take_seat(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Seat, NoSeat> {
        if self.phase() >= Phase::Draining {
            return Err(NoSeat::Draining);
        }
        if self.sockets.fetch_add(1, SeqCst) >= self.sockets_max {
            self.sockets.fetch_sub(1, SeqCst);
            return Err(NoSeat::Full);
        }
        let mut seat = Seat { life: Arc::clone(self), address: None };
        if let Some(address) = address.filter(|_| self.per_address_max > 0) {
            let mut here = self.by_address.entry(address).or_default();
            if *here >= self.per_address_max {
                return Err(NoSeat::AddressFull);
            }
            *here += 1;
            seat.address = Some(Box::new(address));
        }
        Ok(seat)
    }
}

/// A socket's place under the caps.
pub struct Seat {
    life: Arc<Life>,
    /// Only where there is a cap by address.
    address: Option<Box<IpAddr>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.life.sockets.fetch_sub(1, SeqCst);
        if let Some(address) = &self.address {
            self.life.by_address.remove_if_mut(address, |_, here| {
                *here = here.saturating_sub(1);
                *here == 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_capped_in_all_and_by_address_and_come_back() {
        let life = Arc::new(Life::new(3, 2));
        let (a, b) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        let first = life.take_seat(a).expect("a seat");
        let _second = life.take_seat(a).expect("a seat");
        assert_eq!(life.take_seat(a).err(), Some(NoSeat::AddressFull));
        assert_eq!(life.sockets(), 2);
        let _third = life.take_seat(b).expect("a seat");
        assert_eq!(life.take_seat(b).err(), Some(NoSeat::Full));
        drop(first);
        assert_eq!(life.sockets(), 2);
        let _again = life.take_seat(a).expect("a seat");
        life.enter(Phase::Draining);
        life.enter(Phase::Ready);
        assert_eq!((life.phase(), life.take_seat(b).err()), (Phase::Draining, Some(NoSeat::Draining)));
    }
}
