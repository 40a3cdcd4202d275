//! Who is live: sessions by id, chats by name, sockets by number and source, and the phase of the process.
use super::{
    chat_table::{Caps, ChatTable, NoRoom},
    session_actor::{Bell, SessionActor},
};
use crate::{
    chat::{ChatKey, SessionId, Source},
    session::Occupancy,
};
use actix::{Addr, WeakAddr};
use dashmap::DashMap;
use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
};

/// Live sessions of all workers. An entry is written when a session actor starts and taken out when
/// it is dropped, whether it ended or panicked.
pub struct Registry {
    sessions: DashMap<SessionId, Entry>,
    /// Sessions that are found by name. The address keeps them alive while nobody reads. The lock is taken a few
    /// times for each question, never for a delta, and is not held while a session does anything.
    chats: Mutex<ChatTable<Addr<SessionActor>>>,
}

/// Where a session lives.
struct Entry {
    worker: usize,
    session: WeakAddr<SessionActor>,
}

impl Registry {
    pub fn new(caps: Caps) -> Self {
        Registry { sessions: DashMap::new(), chats: Mutex::new(ChatTable::new(caps)) }
    }

    fn chats(&self) -> MutexGuard<'_, ChatTable<Addr<SessionActor>>> {
        self.chats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, id: SessionId, worker: usize, session: WeakAddr<SessionActor>) {
        self.sessions.insert(id, Entry { worker, session });
    }

    pub(super) fn remove(&self, id: SessionId) {
        self.sessions.remove(&id);
    }

    /// The session of a chat, where there is one. What is read from it does not keep it from being evicted.
    pub fn chat(&self, key: &ChatKey) -> Option<Addr<SessionActor>> {
        self.chats().get(key).map(|(_, session)| session).filter(|session| session.connected()).cloned()
    }

    /// The session of a chat, where there is one, for a request that follows at once; the session answers it
    /// with [`Registry::taken`].
    pub(super) fn send_to(&self, key: &ChatKey) -> Option<Addr<SessionActor>> {
        let mut chats = self.chats();
        chats.send_to(key, None).map(|(_, session)| session).filter(|session| session.connected()).cloned()
    }

    /// The session of a chat, for a question that follows at once; `make` makes it where there is none. Two
    /// questions at once get the same one. Where a cap is reached, an idle chat is evicted.
    pub(super) fn chat_or_make(
        &self,
        key: ChatKey,
        id: SessionId,
        source: Source,
        make: impl FnOnce(ChatKey) -> Addr<SessionActor>,
    ) -> Result<Addr<SessionActor>, NoRoom> {
        let mut chats = self.chats();
        if let Some((known, session)) = chats.send_to(&key, Some(source)) {
            if session.connected() {
                return Ok(session.clone());
            }
            chats.remove(&key, known); // It has panicked, and was not taken out yet.
        }
        let evicted = chats.make_room(key.principal, source)?;
        let session = make(key.clone());
        chats.insert(key, id, source, session.clone());
        drop(chats);
        if let Some(evicted) = evicted {
            Self::end(evicted);
        }
        Ok(session)
    }

    /// Ends a session that was taken out of the table.
    fn end(session: Addr<SessionActor>) {
        // A new address has a place of its own in the mailbox: this is never refused.
        let _ = Addr::clone(&session).try_send(Bell::MakeRoom);
    }

    /// A request has reached its session.
    pub(super) fn taken(&self, key: &ChatKey, id: SessionId) {
        self.chats().taken(key, id);
    }

    /// What would be lost with a session has changed.
    pub(super) fn report(&self, key: &ChatKey, id: SessionId, occupancy: Occupancy) {
        self.chats().report(key, id, occupancy);
    }

    /// Requests do not find this session any more; another one that has its name stays.
    pub(super) fn forget_chat(&self, key: &ChatKey, id: SessionId) {
        let _gone = self.chats().remove(key, id);
    }

    /// Evicts the longest idle chat of a source; false where all its chats are in use.
    pub fn evict_idle_of(&self, source: Source) -> bool {
        let evicted = self.chats().evict_of(source);
        evicted.map(Self::end).is_some()
    }

    /// Chats that count for a source.
    pub fn chats_of(&self, source: Source) -> usize {
        self.chats().places_of(source)
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
    by_source: DashMap<Source, usize>,
    /// 0: no cap.
    per_address_max: usize,
}

/// One part of all sockets is kept for others than the source with the most.
const RESERVED_PART: usize = 8;

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
            by_source: DashMap::new(),
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

    /// Takes a seat for a socket from `address`; dropping the seat gives it back. Where the address is unknown,
    /// only the cap of all holds. `is_shared`: the address stands for many clients, as a proxy's does; any other
    /// leaves a part of all seats to the others.
    pub fn take_seat(self: &Arc<Self>, address: Option<IpAddr>, is_shared: bool) -> Result<Seat, NoSeat> {
        if self.phase() >= Phase::Draining {
            return Err(NoSeat::Draining);
        }
        if self.sockets.fetch_add(1, SeqCst) >= self.sockets_max {
            self.sockets.fetch_sub(1, SeqCst);
            return Err(NoSeat::Full);
        }
        let mut seat = Seat { life: Arc::clone(self), source: None };
        let share = match is_shared {
            true => usize::MAX,
            false => self.sockets_max - self.sockets_max / RESERVED_PART,
        };
        let cap = if self.per_address_max > 0 { self.per_address_max.min(share) } else { share };
        if address.is_some() && cap < self.sockets_max {
            let source = Source::of(address);
            let mut here = self.by_source.entry(source).or_default();
            if *here >= cap {
                return Err(NoSeat::AddressFull);
            }
            *here += 1;
            seat.source = Some(source);
        }
        Ok(seat)
    }
}

/// A socket's place under the caps.
pub struct Seat {
    life: Arc<Life>,
    /// Only where it counts for a cap by source.
    source: Option<Source>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.life.sockets.fetch_sub(1, SeqCst);
        if let Some(source) = &self.source {
            self.life.by_source.remove_if_mut(source, |_, here| {
                *here = here.saturating_sub(1);
                *here == 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // faults: K139
    #[test]
    fn all_addresses_of_an_ipv6_network_share_a_cap() {
        let life = Arc::new(Life::new(9, 2));
        let seat = |address: &str| life.take_seat(Some(address.parse().expect("an address")), false);
        let _two = [seat("2001:db8:1:2::1"), seat("2001:db8:1:2:ffff::2")];
        assert_eq!(seat("2001:db8:1:2:3:4:5:6").err(), Some(NoSeat::AddressFull));
        let _other = seat("2001:db8:1:3::1").expect("a seat");
    }

    // faults: K131
    #[test]
    fn one_address_leaves_an_eighth_of_all_seats_to_the_others() {
        let life = Arc::new(Life::new(16, 0));
        let seat = |last: u8, is_shared| life.take_seat(Some(IpAddr::from([192, 0, 2, last])), is_shared);
        let _held: Vec<Seat> = (0..14).map(|_| seat(1, false).expect("a seat")).collect();
        assert_eq!(seat(1, false).err(), Some(NoSeat::AddressFull));
        let other = seat(2, false).expect("a seat");
        // A proxy stands for many, and so does this machine.
        let _proxied = seat(1, true).expect("a seat");
        assert_eq!(seat(2, false).err(), Some(NoSeat::Full));
        drop(other);
        assert_eq!(seat(1, false).err(), Some(NoSeat::AddressFull));
        let _again = seat(3, false).expect("a seat");
        assert_eq!(life.by_source.len(), 2);
    }

    #[test]
    fn seats_are_capped_in_all_and_by_address_and_come_back() {
        let life = Arc::new(Life::new(3, 2));
        let (a, b) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        let take = |address| life.take_seat(address, true);
        let first = take(a).expect("a seat");
        let _second = take(a).expect("a seat");
        assert_eq!(take(a).err(), Some(NoSeat::AddressFull));
        assert_eq!(life.sockets(), 2);
        let _third = take(b).expect("a seat");
        assert_eq!(take(b).err(), Some(NoSeat::Full));
        drop(first);
        assert_eq!(life.sockets(), 2);
        let _again = take(a).expect("a seat");
        life.enter(Phase::Draining);
        life.enter(Phase::Ready);
        assert_eq!((life.phase(), take(b).err()), (Phase::Draining, Some(NoSeat::Draining)));
    }
}
