//! Who follows which chat: connections and their requests, sessions, the registry, and the clock of a worker.
pub mod bad_frames;
pub mod chat_table;
pub mod connection;
pub mod heartbeat;
pub mod messages;
mod reclaim;
pub mod registry;
pub mod session_actor;
pub mod subscriber;
pub mod take_over;
#[cfg(test)]
mod tests;
mod timers;

pub use chat_table::ChatLimits;
pub use connection::{Connection, Consumer};
pub use registry::Registry;

use crate::{
    dispatch::Dispatcher,
    lifecycle::Lifecycle,
    memory::Memory,
    metrics::Metrics,
    protocol, session,
    socket::{direct::Line, guard, intake::Intake, task, unfinished::Deadlines, uploads::Uploads},
};
use actix::{Addr, WeakAddr};
use slab::Slab;
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Length of one tick of the worker's coarse clock.
pub const TICK: Duration = Duration::from_millis(100);

const TICKS_PER_SECOND: usize = (1000 / TICK.as_millis()) as usize;

/// What a socket may do.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub limits: guard::Limits,
    /// What a frame may hold where it may be a whole conversation, in place of `connection.frame_bytes_max`.
    pub transcript_bytes: u32,
    /// Requests that a socket may have open.
    pub requests: usize,
    pub messages: protocol::Limits,
    pub bounds: task::Bounds,
    /// How long a message may take.
    pub deadlines: Deadlines,
    /// What the kernel may hold for a peer that does not read (`SO_SNDBUF`), in bytes.
    pub send_buffer: usize,
    /// A peer that says nothing for so long, no pong either, is gone.
    pub silence: Duration,
    /// How often a silent peer is pinged.
    pub ping: Duration,
    /// Bytes that a worker reads in a second, at most; beyond it, sources take turns.
    pub read_rate: usize,
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
    lists: session_actor::Lists,
    timers: timers::Wakes,
    uploads: Uploads,
    kept: reclaim::Kept,
    /// The lines of those connections that sessions find by number: sessions of chats come from anywhere.
    lines: RefCell<HashMap<u64, Rc<Line>>>,
    /// Shares what the sockets read.
    intake: RefCell<Intake>,
    began: Instant,
    /// The coarse clock: ticks since the worker began. Set by the reaper.
    ticks: Cell<u32>,
    /// This worker's connections; a weak address costs eight bytes and keeps nobody alive.
    connections: RefCell<Slab<WeakAddr<Connection>>>,
}

impl Worker {
    /// Makes this thread's worker and starts its reaper.
    pub fn start(
        index: usize,
        settings: Settings,
        session_settings: Arc<session::Settings>,
        shared: Shared,
    ) -> Rc<Self> {
        let Shared { dispatcher, registry, lifecycle, memory, metrics } = shared;
        let worker = Rc::new(Worker {
            index,
            settings,
            session_settings,
            dispatcher,
            registry,
            lifecycle,
            memory,
            metrics,
            lists: session_actor::Lists::default(),
            timers: timers::Wakes::default(),
            uploads: Uploads::default(),
            kept: reclaim::Kept::default(),
            lines: RefCell::default(),
            intake: RefCell::new(Intake::new(settings.read_rate / TICKS_PER_SECOND)),
            began: Instant::now(),
            ticks: Cell::new(0),
            connections: RefCell::default(),
        });
        actix::spawn(heartbeat::run(Rc::clone(&worker)));
        worker
    }

    pub fn ticks(&self) -> u32 {
        self.ticks.get()
    }

    /// The coarse clock as a time since the worker began.
    pub fn now(&self) -> Duration {
        TICK * self.ticks.get()
    }

    /// The line of a connection, where that is one of this thread.
    fn line(&self, worker: usize, id: u64) -> Option<Rc<Line>> {
        (worker == self.index).then(|| self.lines.borrow().get(&id).cloned()).flatten()
    }

    /// The fine clock: nanoseconds since the worker began, enough for five centuries.
    pub fn nanos(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}
