//! What all connections and sessions of one thread share.
use super::{messages::SocketKey, registry::Registry, retained::RetainedAnswers, timers::Timers};
use crate::{
    chat::RunEvent,
    dispatch::Dispatcher,
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

/// What a connection may do.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub socket: socket::worker::Settings,
    /// What a frame may hold where it may be a whole conversation, in place of `connection.frame_bytes_max`.
    pub transcript_bytes: u32,
    /// Requests that a socket may have open.
    pub requests: usize,
    pub messages: protocol::Limits,
    /// Time without any frame, pongs included, after which a peer counts as gone.
    pub silence: Duration,
    /// How often a silent peer is pinged.
    pub ping: Duration,
}

/// Lists that all sessions of a thread use in turn: one of each for all of them stays in the cache, and
/// a delta allocates none.
#[derive(Default)]
pub struct ScratchBuffers {
    pub effects: Cell<Vec<Effect>>,
    pub refused: Cell<Vec<Input>>,
    pub events: Cell<Vec<RunEvent>>,
}

/// What the workers of a process share.
pub struct Shared {
    /// One address for all sessions of a worker; beyond its place the mailbox refuses.
    pub dispatcher: Addr<Dispatcher>,
    pub registry: Arc<Registry>,
    pub lifecycle: Arc<Lifecycle>,
    pub memory: Arc<Memory>,
    pub metrics: Arc<Metrics>,
}

/// What all sockets and sessions of one worker share. One per worker thread, behind an `Rc`.
pub struct Worker {
    pub index: usize,
    pub settings: Settings,
    pub session_settings: Arc<session::Settings>,
    pub dispatcher: Addr<Dispatcher>,
    pub registry: Arc<Registry>,
    pub lifecycle: Arc<Lifecycle>,
    pub memory: Arc<Memory>,
    pub metrics: Arc<Metrics>,
    pub(super) scratch: ScratchBuffers,
    pub(super) timers: Timers,
    /// What the sockets of this thread share.
    pub sockets: Rc<SocketWorker>,
    pub(super) retained: RetainedAnswers,
    /// Of those connections that have sent a request: a session on this thread finds its subscriber's socket here.
    pub(super) direct_writers: RefCell<HashMap<u64, Rc<DirectWriter>>>,
    /// The coarse clock of this thread.
    pub clock: Rc<WorkerClock>,
}

impl Worker {
    /// This thread's worker. Nothing is due in it until [`heartbeat::start`](super::heartbeat::start).
    pub fn new(
        index: usize,
        settings: Settings,
        session_settings: Arc<session::Settings>,
        shared: Shared,
        clock: Rc<WorkerClock>,
    ) -> Rc<Self> {
        let Shared { dispatcher, registry, lifecycle, memory, metrics } = shared;
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
            scratch: ScratchBuffers::default(),
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

    /// The direct writer of a socket, where that is on this thread.
    pub(super) fn direct_writer(&self, socket: SocketKey) -> Option<Rc<DirectWriter>> {
        (socket.worker == self.index)
            .then(|| self.direct_writers.borrow().get(&socket.connection).cloned())
            .flatten()
    }
}
