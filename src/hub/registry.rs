//! Who is live: sessions by id, chats by name.
use super::{
    chat_table::{ChatLimits, ChatTable, NoRoom},
    messages::{SessionHandle, SessionSignal, WeakSessionHandle},
};
use crate::{
    chat::{ChatKey, SessionId, Source},
    session::Occupancy,
};
use dashmap::DashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Live sessions of all workers. An entry is written when a session actor starts and taken out when
/// it is dropped, whether it ended or panicked.
pub struct Registry {
    sessions: DashMap<SessionId, Entry>,
    /// Sessions that are found by name. The address keeps them alive while they have no subscriber. The lock is taken a few
    /// times for each question, never for a delta, and is not held while a session does anything.
    chats: Mutex<ChatTable<SessionHandle>>,
}

/// Where a session lives.
struct Entry {
    worker: usize,
    session: WeakSessionHandle,
}

impl Registry {
    pub fn new(caps: ChatLimits) -> Self {
        Registry { sessions: DashMap::new(), chats: Mutex::new(ChatTable::new(caps)) }
    }

    fn chats(&self) -> MutexGuard<'_, ChatTable<SessionHandle>> {
        self.chats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, id: SessionId, worker: usize, session: WeakSessionHandle) {
        self.sessions.insert(id, Entry { worker, session });
    }

    /// A live session.
    pub(super) fn session(&self, id: SessionId) -> Option<SessionHandle> {
        self.sessions.get(&id)?.session.upgrade()
    }

    pub(super) fn remove(&self, id: SessionId) {
        self.sessions.remove(&id);
    }

    /// The session of a chat, where there is one. What is read from it does not keep it from being evicted.
    pub fn chat(&self, key: &ChatKey) -> Option<SessionHandle> {
        self.chats().get(key).map(|(_, session)| session).filter(|session| session.is_live()).cloned()
    }

    /// The session of a chat, where there is one, for a request that follows at once; the session answers it
    /// with [`Registry::taken`].
    pub(super) fn send_to(&self, key: &ChatKey) -> Option<SessionHandle> {
        let mut chats = self.chats();
        chats.send_to(key, None).map(|(_, session)| session).filter(|session| session.is_live()).cloned()
    }

    /// The session of a chat, for a question that follows at once; `make` makes it where there is none. Two
    /// questions at once get the same one. Where a cap is reached, an idle chat is evicted.
    pub(super) fn chat_or_make(
        &self,
        key: ChatKey,
        id: SessionId,
        source: Source,
        make: impl FnOnce(ChatKey) -> SessionHandle,
    ) -> Result<SessionHandle, NoRoom> {
        let mut chats = self.chats();
        if let Some((known, session)) = chats.send_to(&key, Some(source)) {
            if session.is_live() {
                return Ok(session.clone());
            }
            chats.remove(&key, known); // It has panicked, and was not taken out yet.
        }
        let evicted = chats.make_room(key.principal, source)?;
        let session = make(key.clone());
        chats.insert(key, id, source, session.clone());
        drop(chats);
        if let Some(evicted) = evicted {
            Self::end(&evicted);
        }
        Ok(session)
    }

    /// Ends a session that was taken out of the table.
    fn end(session: &SessionHandle) {
        session.signal(SessionSignal::Evict);
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
        evicted.as_ref().map(Self::end).is_some()
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

    /// Those sessions of one worker that `which` chooses, for its heartbeat.
    pub(super) fn of_worker(&self, worker: usize, which: impl Fn(SessionId) -> bool) -> Vec<SessionHandle> {
        let here = self.sessions.iter().filter(|entry| entry.worker == worker && which(*entry.key()));
        here.filter_map(|entry| entry.session.upgrade()).collect()
    }
}
