//! State shared by all connections and sessions of one thread.
use super::{
    messages::SocketKey, registry::Registry, retained::RetainedAnswers, subscriber::Subscriber,
    timers::Timers,
};
use crate::{
    chat::{Models, RunEvent},
    dispatch::{Dispatcher, LocalRuns},
    lifecycle::Lifecycle,
    memory::Memory,
    metrics::Metrics,
    protocol,
    session::{self, Effect, Input},
    socket::{self, direct::DirectWriter, worker::SocketWorker},
    worker_clock::WorkerClock,
};
use actix::Addr;
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

/// Limits of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub socket: socket::worker::Settings,
    /// Maximum frame size in bytes on routes whose frames may hold a whole conversation, instead of
    /// `connection.frame_bytes_max`.
    pub transcript_bytes: u32,
    /// Maximum open requests per socket; more are rejected.
    pub requests: usize,
    pub messages: protocol::Limits,
    /// Time without any frame, pongs included, after which a connection is closed.
    pub silence: Duration,
    /// Interval of pings to a peer.
    pub ping: Duration,
}

/// Lists that all sessions of a thread reuse in turn: they stay in the cache, and a delta allocates none.
#[derive(Default)]
pub struct ScratchBuffers {
    pub effects: Cell<Vec<Effect<Subscriber>>>,
    pub refused: Cell<Vec<Input<Subscriber>>>,
    pub events: Cell<Vec<RunEvent>>,
}

/// State shared by the workers of a process.
pub struct SharedParts {
    /// One address for all sessions of a worker, so its single extra place bounds what they can queue.
    pub dispatcher: Addr<Dispatcher>,
    pub registry: Arc<Registry>,
    pub lifecycle: Arc<Lifecycle>,
    pub memory: Arc<Memory>,
    pub metrics: Arc<Metrics>,
    pub models: Models,
}

/// State shared by all sockets and sessions of one worker. One per worker thread, behind an `Rc`.
pub struct Worker {
    pub index: usize,
    pub settings: Settings,
    pub session_settings: Arc<session::Settings>,
    pub dispatcher: Addr<Dispatcher>,
    pub registry: Arc<Registry>,
    pub lifecycle: Arc<Lifecycle>,
    pub memory: Arc<Memory>,
    pub metrics: Arc<Metrics>,
    /// What clients may choose.
    pub models: Models,
    pub(super) scratch: ScratchBuffers,
    /// The runs that sessions of this thread poll.
    pub(super) local_runs: LocalRuns,
    pub(super) timers: Timers,
    /// State shared by the sockets of this thread.
    pub sockets: Rc<SocketWorker>,
    pub(super) retained: RetainedAnswers,
    /// Direct writers of connections that have sent a request, looked up by sessions on this thread.
    pub(super) direct_writers: RefCell<HashMap<u64, Rc<DirectWriter>>>,
    /// The coarse clock of this thread.
    pub clock: Rc<WorkerClock>,
}

impl Worker {
    /// Creates this thread's worker. It is idle until [`heartbeat::start`](super::heartbeat::start).
    pub fn new(
        index: usize,
        settings: Settings,
        session_settings: Arc<session::Settings>,
        shared: SharedParts,
        local_runs: LocalRuns,
        clock: Rc<WorkerClock>,
    ) -> Rc<Self> {
        let SharedParts { dispatcher, registry, lifecycle, memory, metrics, models } = shared;
        Rc::new(Worker {
            index,
            settings,
            session_settings,
            dispatcher,
            registry,
            lifecycle,
            sockets: SocketWorker::new(settings.socket, Arc::clone(&memory), Rc::clone(&clock)),
            memory,
            metrics,
            models,
            scratch: ScratchBuffers::default(),
            local_runs,
            timers: Timers::default(),
            retained: RetainedAnswers::default(),
            direct_writers: RefCell::default(),
            clock,
        })
    }

    /// The coarse clock as a time since it started.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// The direct writer of a socket of this thread.
    pub(super) fn direct_writer(&self, socket: SocketKey) -> Option<Rc<DirectWriter>> {
        (socket.worker == self.index)
            .then(|| self.direct_writers.borrow().get(&socket.connection).cloned())
            .flatten()
    }
}
