//! Incomplete messages of one worker's sockets.
//!
//! A socket has an entry only while its last read ended inside a frame or message; most messages arrive in
//! one read and never get one. The worker's clock scans the table, so sockets need no timers of their own. A
//! due socket is woken, reads what is available, and calls `Uploads::note` again, so a client is not blamed
//! for time in which the gateway did not read.
use super::unfinished::{Deadlines, Progress, Unfinished};
use crate::{
    chat::Source,
    memory::{self, Account},
    protocol::Close,
};
use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    task::Waker,
    time::Duration,
};

/// Size in bytes below which a message is not evicted before it is `ARRIVAL` old.
const SMALL_BYTES: usize = 32 << 10;
/// Age at which a message of any size may be evicted.
const ARRIVAL: Duration = Duration::from_secs(1);

/// Incomplete messages by connection.
#[derive(Default)]
pub(crate) struct Uploads {
    table: RefCell<HashMap<u64, Upload>>,
    /// Sockets whose close would end a running answer: their messages may be paused, but are not evicted.
    protected: RefCell<HashSet<u64>>,
}

struct Upload {
    unfinished: Unfinished,
    /// Memory held by the message.
    account: Account<1>,
    /// Wakes the socket's task.
    task: Waker,
    /// The task was woken and has not called [`Uploads::note`] since.
    woken: bool,
    /// Since when reading is paused for lack of memory.
    paused: Option<Duration>,
    /// Chosen for eviction: the socket is closed when its task runs.
    evicted: bool,
}

/// State of an incomplete message when its socket has to wait.
pub(crate) struct UploadState {
    pub progress: Progress,
    /// Memory held, in bytes.
    pub held: usize,
    /// Reading is paused: more input may be available.
    pub paused: bool,
}

impl Upload {
    fn note(&mut self, now: Duration, state: &UploadState, deadlines: &Deadlines) -> Option<Close> {
        self.woken = false;
        self.account.set(0, state.held);
        if self.evicted {
            return Some(Close::Overloaded);
        }
        if state.paused {
            let since = *self.paused.get_or_insert(now);
            return (now >= since + deadlines.idle).then_some(Close::Overloaded);
        }
        if let Some(since) = self.paused.take() {
            self.unfinished.extend(now.saturating_sub(since));
        }
        self.unfinished.note(now, state.progress);
        self.unfinished.is_overdue(now, deadlines).then_some(Close::Unfinished)
    }

    /// Excludes small messages that may be just arriving.
    fn is_evictable(&self, now: Duration) -> bool {
        let is_old = now >= self.unfinished.began() + ARRIVAL;
        !self.evicted && (is_old || self.account.held() >= SMALL_BYTES)
    }

    /// Whether the socket should be woken.
    fn is_due(&self, now: Duration, deadlines: &Deadlines, is_paused: impl Fn(Source) -> bool) -> bool {
        match self.paused {
            Some(since) => now >= since + deadlines.idle || !is_paused(self.account.source()),
            None => self.unfinished.is_overdue(now, deadlines),
        }
    }
}

impl Uploads {
    /// Records an incomplete message of a socket that has read everything available or is paused. Returns why
    /// the socket must be closed, if it must.
    pub(crate) fn note(
        &self,
        id: u64,
        now: Duration,
        state: &UploadState,
        deadlines: &Deadlines,
        task: &Waker,
        account: impl FnOnce() -> Account<1>,
    ) -> Option<Close> {
        let mut table = self.table.borrow_mut();
        let upload = table.entry(id).or_insert_with(|| Upload {
            unfinished: Unfinished::new(now, state.progress),
            account: account(),
            task: task.clone(),
            woken: false,
            paused: None,
            evicted: false,
        });
        upload.task.clone_from(task);
        upload.note(now, state, deadlines)
    }

    pub(crate) fn remove(&self, id: u64) {
        let mut table = self.table.borrow_mut();
        table.remove(&id);
        if table.is_empty() {
            *table = HashMap::new(); // Frees the capacity that a flood left behind.
        }
    }

    /// When a connection's incomplete message last grew, if it has one; `now` while reading is paused.
    pub(crate) fn grew(&self, id: u64, now: Duration) -> Option<Duration> {
        let table = self.table.borrow();
        table.get(&id).map(|upload| if upload.paused.is_some() { now } else { upload.unfinished.grew() })
    }

    /// Wakes the sockets whose messages are overdue or may be resumed, each once.
    pub(crate) fn wake(&self, now: Duration, deadlines: &Deadlines, is_paused: impl Fn(Source) -> bool) {
        let mut table = self.table.borrow_mut();
        let due = |upload: &&mut Upload| !upload.woken && upload.is_due(now, deadlines, &is_paused);
        for upload in table.values_mut().filter(due) {
            upload.woken = true;
            upload.task.wake_by_ref();
        }
    }

    /// Sets whether closing this socket would end a running answer.
    pub(crate) fn set_protected(&self, id: u64, protected: bool) {
        let mut table = self.protected.borrow_mut();
        if protected {
            table.insert(id);
        } else {
            table.remove(&id);
        }
    }

    /// Evicts messages until the demands are met. Returns their number, and adds what each source released to
    /// `paid`.
    pub(crate) fn reclaim(
        &self,
        now: Duration,
        demands: &HashMap<Source, usize>,
        paid: &mut HashMap<Source, usize>,
    ) -> usize {
        let mut table = self.table.borrow_mut();
        let protected = self.protected.borrow();
        let there = table.iter().filter(|(_, upload)| upload.is_evictable(now));
        let there = there.filter(|(id, _)| !protected.contains(*id));
        let candidates = there.map(|(id, upload)| (upload.account.held(), upload.account.source(), *id));
        let chosen = memory::select_largest(candidates, demands, paid);
        for id in &chosen {
            if let Some(upload) = table.get_mut(id) {
                upload.evicted = true;
                upload.task.wake_by_ref();
            }
        }
        chosen.len()
    }
}
