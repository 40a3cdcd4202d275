//! Who is live: sessions by id, sockets by number and address, and the phase of the process.
use super::{letter::ChatKey, session_actor::SessionActor};
use crate::chat::SessionId;
use actix::{Addr, WeakAddr};
use dashmap::{DashMap, Entry as Place};
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
};

/// Live sessions of all workers. An entry is written when a session actor starts and taken out when
/// it is dropped, whether it ended or panicked.
#[derive(Default)]
pub struct Registry {
    sessions: DashMap<SessionId, Entry>,
    /// Sessions that are found by name. The address keeps them alive while nobody reads.
    chats: DashMap<ChatKey, Chat>,
}

struct Chat {
    id: SessionId,
    session: Addr<SessionActor>,
}

/// Where a session lives.
struct Entry {
    worker: usize,
    session: WeakAddr<SessionActor>,
}

impl Registry {
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

    /// The session of a chat; `make` makes it where there is none. Two who ask at once get the same.
    pub(super) fn chat_or_make(
        &self,
        key: ChatKey,
        id: SessionId,
        make: impl FnOnce(ChatKey) -> Addr<SessionActor>,
    ) -> Addr<SessionActor> {
        match self.chats.entry(key) {
            Place::Occupied(chat) if chat.get().session.connected() => chat.get().session.clone(),
            // It has panicked and not been taken out yet, or there is none.
            place => {
                let session = make(place.key().clone());
                place.insert(Chat { id, session: session.clone() });
                session
            }
        }
    }

    /// Nobody finds this session any more; another one that has taken its place stays.
    pub(super) fn forget_chat(&self, key: &ChatKey, id: SessionId) {
        self.chats.remove_if(key, |_, chat| chat.id == id);
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
