//! What all sockets of one thread share: their bounds, memory, and clock.
use super::{guard, intake::Intake, task, unfinished::Deadlines, uploads::Uploads};
use crate::{
    memory::Memory,
    worker_clock::{TICK, WorkerClock},
};
use std::{cell::RefCell, rc::Rc, sync::Arc, task::Waker, time::Duration};
use tokio::time::Instant;

const TICKS_PER_SECOND: usize = (1000 / TICK.as_millis()) as usize;

/// What a socket may do.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub limits: guard::Limits,
    pub bounds: task::Bounds,
    /// How long a message may take.
    pub deadlines: Deadlines,
    /// What the kernel may hold for a peer that does not read (`SO_SNDBUF`), in bytes.
    pub send_buffer: usize,
    /// Bytes per second that a worker reads at most; beyond it, sources take turns.
    pub read_rate: usize,
}

/// One per thread, behind an `Rc`. At each tick of the clock [`SocketWorker::resume_reads`] and
/// [`SocketWorker::check_uploads`] are to be called.
pub struct SocketWorker {
    pub settings: Settings,
    pub memory: Arc<Memory>,
    pub(crate) uploads: Uploads,
    pub(super) intake: RefCell<Intake>,
    began: Instant,
    /// The coarse clock of this thread.
    clock: Rc<WorkerClock>,
}

impl SocketWorker {
    pub fn new(settings: Settings, memory: Arc<Memory>, clock: Rc<WorkerClock>) -> Rc<Self> {
        Rc::new(SocketWorker {
            settings,
            memory,
            uploads: Uploads::default(),
            intake: RefCell::new(Intake::new(settings.read_rate / TICKS_PER_SECOND)),
            began: Instant::now(),
            clock,
        })
    }

    /// Begins a new share of what the worker reads, and lets sockets read that had to wait; how many.
    pub fn resume_reads(&self) -> usize {
        let woken = self.intake.borrow_mut().tick();
        let count = woken.len();
        woken.into_iter().for_each(Waker::wake);
        count
    }

    /// Wakes the sockets whose unfinished messages have taken too long or may be read on.
    pub fn check_uploads(&self) {
        let pauses = |source| self.memory.pauses(source);
        self.uploads.wake(self.now(), &self.settings.deadlines, pauses);
    }

    /// The coarse clock as a time since it started.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// The fine clock: nanoseconds since the worker began, enough for five centuries.
    pub fn nanos(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}
