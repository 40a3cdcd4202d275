//! State shared by all sockets of one thread: limits, memory, and clock.
use super::{direct::WriteQueue, guard, intake::Intake, task, unfinished::Deadlines, uploads::Uploads};
use crate::{
    memory::Memory,
    worker_clock::{TICK, WorkerClock},
};
use std::{cell::RefCell, rc::Rc, sync::Arc, task::Waker, time::Duration};
use tokio::time::Instant;

const TICKS_PER_SECOND: usize = (1000 / TICK.as_millis()) as usize;

/// Limits of a socket.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub limits: guard::Limits,
    pub bounds: task::Bounds,
    /// Deadlines of an incomplete message.
    pub deadlines: Deadlines,
    /// Kernel send buffer per socket (`SO_SNDBUF`), in bytes.
    pub send_buffer: usize,
    /// Maximum bytes per second read by a worker; beyond it, sources take turns.
    pub read_rate: usize,
}

/// One per thread, behind an `Rc`. [`SocketWorker::resume_reads`] and [`SocketWorker::check_uploads`] must be
/// called at each tick of the clock.
pub struct SocketWorker {
    pub settings: Settings,
    /// Those of the settings, shared by all sockets.
    pub(super) bounds: Rc<task::Bounds>,
    pub memory: Arc<Memory>,
    /// What sessions of this thread write.
    pub queue: Rc<WriteQueue>,
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
            bounds: Rc::new(settings.bounds),
            memory,
            queue: Rc::default(),
            uploads: Uploads::default(),
            intake: RefCell::new(Intake::new(settings.read_rate / TICKS_PER_SECOND)),
            began: Instant::now(),
            clock,
        })
    }

    /// Starts the read budget of the next tick and wakes sockets that wait for it. Returns their number.
    pub fn resume_reads(&self) -> usize {
        let woken = self.intake.borrow_mut().tick();
        let count = woken.len();
        woken.into_iter().for_each(Waker::wake);
        count
    }

    /// Wakes the sockets whose incomplete messages are overdue or may be resumed.
    pub fn check_uploads(&self) {
        let pauses = |source| self.memory.pauses(source);
        self.uploads.wake(self.now(), &self.settings.deadlines, pauses);
    }

    /// The coarse clock as a time since it started.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Nanoseconds since the worker started; wraps after five centuries.
    pub fn nanos(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}
