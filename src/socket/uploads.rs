//! The messages of one worker's sockets that have begun to arrive and are not complete.
//!
//! A socket is in this table only while its last read ended inside a frame or message: most messages
//! arrive in one read and never are. The worker's clock looks through the table, so no socket has a
//! timer. A socket that is to look at itself is woken, reads what is there, and asks [`Uploads::note`]
//! again: a client is not blamed for a time in which the gateway did not read.
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

/// A message that holds less is not given up before this time.
const SMALL_BYTES: usize = 32 << 10;
const ARRIVAL: Duration = Duration::from_secs(1);

/// By connection.
#[derive(Default)]
pub(crate) struct Uploads {
    table: RefCell<HashMap<u64, Upload>>,
    /// Sockets whose close would end a running answer: their messages may have to wait, and are not given
    /// up.
    spared: RefCell<HashSet<u64>>,
}

struct Upload {
    unfinished: Unfinished,
    /// What it holds.
    account: Account<1>,
    /// The task of its socket.
    task: Waker,
    /// The task was woken, and has not been here since.
    woken: bool,
    /// Since when it is not read, because memory is short.
    paused: Option<Duration>,
    /// Its memory is taken back.
    evicted: bool,
}

/// What is known of a message when its socket comes to wait.
pub(crate) struct State {
    pub progress: Progress,
    /// Bytes that it takes.
    pub held: usize,
    /// There may be more to read, which has to wait.
    pub paused: bool,
}

impl Upload {
    fn note(&mut self, now: Duration, state: &State, deadlines: &Deadlines) -> Option<Close> {
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
            self.unfinished.excuse(now.saturating_sub(since));
        }
        self.unfinished.note(now, state.progress);
        self.unfinished.is_overdue(now, deadlines).then_some(Close::Unfinished)
    }

    /// A small one may be a message that is just arriving.
    fn can_be_given_up(&self, now: Duration) -> bool {
        let is_old = now >= self.unfinished.began() + ARRIVAL;
        !self.evicted && (is_old || self.account.held() >= SMALL_BYTES)
    }

    /// Whether its socket is to look at it.
    fn is_due(&self, now: Duration, deadlines: &Deadlines, pauses: impl Fn(Source) -> bool) -> bool {
        match self.paused {
            Some(since) => now >= since + deadlines.idle || !pauses(self.account.source()),
            None => self.unfinished.is_overdue(now, deadlines),
        }
    }
}

impl Uploads {
    /// A socket has read all that there is, or may not read on, and a message is not complete. Returns why the
    /// socket is to be closed, if it is.
    pub(crate) fn note(
        &self,
        id: u64,
        now: Duration,
        state: &State,
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
            *table = HashMap::new(); // A flood that is over leaves no room behind.
        }
    }

    /// When the unfinished message of a connection last grew, if it has one; `now` while it may not grow.
    pub(crate) fn grew(&self, id: u64, now: Duration) -> Option<Duration> {
        let table = self.table.borrow();
        table.get(&id).map(|upload| if upload.paused.is_some() { now } else { upload.unfinished.grew() })
    }

    /// Wakes the sockets whose messages have taken too long or may be read on, each once.
    pub(crate) fn wake(&self, now: Duration, deadlines: &Deadlines, pauses: impl Fn(Source) -> bool) {
        let mut table = self.table.borrow_mut();
        let due = |upload: &&mut Upload| !upload.woken && upload.is_due(now, deadlines, &pauses);
        for upload in table.values_mut().filter(due) {
            upload.woken = true;
            upload.task.wake_by_ref();
        }
    }

    /// Whether the close of this socket would end a running answer.
    pub(crate) fn spare(&self, id: u64, spared: bool) {
        let mut table = self.spared.borrow_mut();
        if spared {
            table.insert(id);
        } else {
            table.remove(&id);
        }
    }

    /// Has messages given up until the demands are met; how many, and what each source paid so.
    pub(crate) fn give_back(
        &self,
        now: Duration,
        demands: &HashMap<Source, usize>,
        paid: &mut HashMap<Source, usize>,
    ) -> usize {
        let mut table = self.table.borrow_mut();
        let spared = self.spared.borrow();
        let there = table.iter().filter(|(_, upload)| upload.can_be_given_up(now));
        let there = there.filter(|(id, _)| !spared.contains(*id));
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
