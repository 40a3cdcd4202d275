//! The messages of one worker's sockets that have begun to arrive and are not complete.
//!
//! A socket is in this table only while its last read ended inside a frame or message: most messages
//! arrive in one read and never are. The worker's clock looks through the table, so no socket has a
//! timer. A socket that is overdue is woken, reads what is there, and asks [`Uploads::note`] again: a
//! client is not blamed for a time in which the gateway did not read.
use super::guard::{Deadlines, Progress, Unfinished};
use crate::protocol::Close;
use std::{cell::RefCell, collections::HashMap, task::Waker, time::Duration};

/// By connection.
#[derive(Default)]
pub(super) struct Uploads(RefCell<HashMap<u64, Upload>>);

struct Upload {
    unfinished: Unfinished,
    /// The task of its socket.
    task: Waker,
    /// The task was woken to look at its deadline.
    woken: bool,
}

impl Uploads {
    /// A socket has read all that there is, and a message is not complete. Returns why the socket is to be
    /// closed, if it is.
    pub(super) fn note(
        &self,
        id: u64,
        now: Duration,
        progress: Progress,
        deadlines: &Deadlines,
        task: &Waker,
    ) -> Option<Close> {
        let mut table = self.0.borrow_mut();
        let upload = table.entry(id).or_insert_with(|| Upload {
            unfinished: Unfinished::new(now, progress),
            task: task.clone(),
            woken: false,
        });
        upload.unfinished.note(now, progress);
        upload.task.clone_from(task);
        upload.woken = false;
        upload.unfinished.is_overdue(now, deadlines).then_some(Close::Unfinished)
    }

    pub(super) fn remove(&self, id: u64) {
        let mut table = self.0.borrow_mut();
        table.remove(&id);
        if table.is_empty() {
            *table = HashMap::new(); // A flood that is over leaves no room behind.
        }
    }

    /// When the unfinished message of a connection last grew, if it has one.
    pub(super) fn grew(&self, id: u64) -> Option<Duration> {
        self.0.borrow().get(&id).map(|upload| upload.unfinished.grew())
    }

    /// Wakes the sockets whose messages have taken too long, each once.
    pub(super) fn wake_overdue(&self, now: Duration, deadlines: &Deadlines) {
        let mut table = self.0.borrow_mut();
        let overdue = |upload: &&mut Upload| !upload.woken && upload.unfinished.is_overdue(now, deadlines);
        for upload in table.values_mut().filter(overdue) {
            upload.woken = true;
            upload.task.wake_by_ref();
        }
    }
}
