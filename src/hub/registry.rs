//! The live sessions: by id, and by chat.
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

/// Live sessions of all workers. A session has an entry from its actor's start until its actor is dropped,
/// whether it stopped or panicked.
pub struct Registry {
    sessions: DashMap<SessionId, Entry>,
    /// Sessions by chat. The handle keeps a session alive while it has no subscriber. The lock is taken a few
    /// times per question, never per delta, and is not held while a session runs.
    chats: Mutex<ChatTable<SessionHandle>>,
}

/// A session and its worker.
struct Entry {
    worker: usize,
    session: WeakSessionHandle,
}

impl Registry {
    pub fn new(limits: ChatLimits) -> Self {
        Registry { sessions: DashMap::new(), chats: Mutex::new(ChatTable::new(limits)) }
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

    /// Looks up the session of a chat, if it has one, without protecting it from eviction.
    pub fn chat(&self, key: &ChatKey) -> Option<SessionHandle> {
        self.chats().get(key).map(|(_, session)| session).filter(|session| session.is_live()).cloned()
    }

    /// Looks up the session of a chat, if it has one, for a request that is sent at once. The session
    /// confirms it with [`Registry::delivered`].
    pub(super) fn send_to(&self, key: &ChatKey) -> Option<SessionHandle> {
        let mut chats = self.chats();
        chats.send_to(key, None).map(|(_, session)| session).filter(|session| session.is_live()).cloned()
    }

    /// Looks up the session of a chat, for a question that is sent at once, or creates it with `make`.
    /// Concurrent questions get the same session. At a limit, an idle chat is evicted.
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
            chats.remove(&key, known); // It has panicked and is not removed yet.
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

    /// Ends a session that was removed from the table.
    fn end(session: &SessionHandle) {
        session.signal(SessionSignal::Evict);
    }

    /// Records that a request has reached its session.
    pub(super) fn delivered(&self, key: &ChatKey, id: SessionId) {
        self.chats().delivered(key, id);
    }

    /// Records what an eviction of the session would lose.
    pub(super) fn report(&self, key: &ChatKey, id: SessionId, occupancy: Occupancy) {
        self.chats().report(key, id, occupancy);
    }

    /// Removes an ended session from the table. A newer session of the same chat stays.
    pub(super) fn forget_chat(&self, key: &ChatKey, id: SessionId) {
        let _gone = self.chats().remove(key, id);
    }

    /// Evicts one idle chat of a source; false if all its chats are in use.
    pub fn evict_idle_of(&self, source: Source) -> bool {
        let evicted = self.chats().evict_of(source);
        evicted.as_ref().map(Self::end).is_some()
    }

    /// Number of chats that count for a source.
    pub fn chats_of(&self, source: Source) -> usize {
        self.chats().chats_of(source)
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The sessions of one worker that `which` selects, for its heartbeat.
    pub(super) fn of_worker(&self, worker: usize, which: impl Fn(SessionId) -> bool) -> Vec<SessionHandle> {
        let here = self.sessions.iter().filter(|entry| entry.worker == worker && which(*entry.key()));
        here.filter_map(|entry| entry.session.upgrade()).collect()
    }
}
