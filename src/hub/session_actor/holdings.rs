//! Accounting of the memory that one session holds.
use crate::{
    chat::{RunRequest, SessionId, Source},
    dispatch::STREAM_BYTES,
    hub::{subscriber::Subscriber, worker::Worker},
    memory::{Account, Kind},
    session::{Lifetime, Session},
};

/// Bytes by which an answer grows before the account is updated; also the minimum worth reclaiming.
const STEP_BYTES: usize = 4096;

/// A session's memory account. It belongs to the source of its last question.
pub(super) struct Holdings {
    /// Memory of history, queued questions and replay logs.
    account: Account<3>,
    /// Size of the newest answer at which the account is updated.
    renew_at: usize,
    /// Bytes of finished answers reported to the worker.
    kept: usize,
    /// Memory that the connection reserved for the next answer; released if unused.
    pub(super) run: Option<Account<1>>,
    /// It ends with its socket.
    of_socket: bool,
    /// The worker's uploads know that its socket must not be closed during an answer.
    protected: bool,
}

impl Holdings {
    pub(super) fn new(worker: &Worker, source: Source, lifetime: Lifetime) -> Self {
        let kinds = [Kind::History, Kind::Queued, Kind::Replay];
        Holdings {
            account: Account::new(&worker.memory, source, kinds),
            renew_at: 0,
            kept: 0,
            run: None,
            of_socket: lifetime == Lifetime::OfSocket,
            protected: false,
        }
    }

    pub(super) fn source(&self) -> Source {
        self.account.source()
    }

    pub(super) fn transfer_to(&mut self, source: Source) {
        self.account.transfer_to(source);
    }

    /// The account of a run of this session, charged with what the run will need.
    pub(super) fn of_run(&mut self, request: &RunRequest) -> Account<1> {
        let new = || Account::new(self.account.memory(), self.account.source(), [Kind::Requests]);
        let mut account = self.run.take().unwrap_or_else(new);
        account
            .set(0, STREAM_BYTES + request.messages.iter().map(|message| message.text.len()).sum::<usize>());
        account
    }

    /// Whether the account must be updated after a delta.
    pub(super) fn is_due(&self, session: &Session<Subscriber>) -> bool {
        session.newest_bytes() >= self.renew_at
    }

    /// The session is no more.
    pub(super) fn leave(&self, worker: &Worker, id: SessionId) {
        if self.kept > 0 {
            worker.retained.remove(id);
        }
        if self.protected {
            worker.sockets.uploads.set_protected(id.0 as u64, false);
        }
    }

    /// Updates the account; not called for every delta.
    pub(super) fn renew(&mut self, worker: &Worker, id: SessionId, session: &Session<Subscriber>) {
        self.run = None;
        let held = session.memory_use();
        for (at, bytes) in [held.history, held.queued, held.replay].into_iter().enumerate() {
            self.account.set(at, bytes);
        }
        self.renew_at = session.newest_bytes() + STEP_BYTES;
        let kept = if held.retained >= STEP_BYTES { held.retained } else { 0 };
        if kept != self.kept {
            self.kept = kept;
            worker.retained.set(id, self.source(), kept);
        }
        let protected = self.of_socket && session.is_answering();
        if protected != self.protected {
            self.protected = protected;
            worker.sockets.uploads.set_protected(id.0 as u64, protected); // The session of a socket has its number.
        }
    }
}
