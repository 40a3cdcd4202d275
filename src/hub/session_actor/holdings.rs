//! What one session holds of the memory of all, as far as that is written down.
use crate::{
    chat::{RunRequest, SessionId, Source},
    dispatch::STREAM_BYTES,
    hub::worker::Worker,
    memory::{Account, Kind},
    session::{Lifetime, Session},
};

/// Growth of an answer after which what a session holds is written down again; and the least that is worth
/// to be taken back.
const STEP_BYTES: usize = 4096;

/// The account of a session. It is for the source of its last question.
pub(super) struct Holdings {
    /// Of history, waiting questions and replay logs.
    account: Account<3>,
    /// When the newest answer has grown to this, it is renewed.
    renew_at: usize,
    /// Bytes of finished answers that the worker knows to be kept here.
    kept: usize,
    /// What its connection took for the answer to the question that it is given; left over, it goes back.
    pub(super) run: Option<Account<1>>,
    /// It ends with its socket.
    of_socket: bool,
    /// The worker knows that its socket is not to be closed over an answer.
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

    /// The account of a run of this session, with what it will take.
    pub(super) fn of_run(&mut self, request: &RunRequest) -> Account<1> {
        let new = || Account::new(self.account.memory(), self.account.source(), [Kind::Requests]);
        let mut account = self.run.take().unwrap_or_else(new);
        account
            .set(0, STREAM_BYTES + request.messages.iter().map(|message| message.text.len()).sum::<usize>());
        account
    }

    /// After text alone: whether enough has come for a renewal.
    pub(super) fn is_due(&self, session: &Session) -> bool {
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

    /// Writes down what the session holds; never for a delta alone.
    pub(super) fn renew(&mut self, worker: &Worker, id: SessionId, session: &Session) {
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
