//! WebSockets: the socket after its upgrade, the actor that speaks on it, and the actor of its session.
pub mod chat_table;
pub mod connection;
pub mod context;
pub mod guard;
pub mod inbound;
pub mod intake;
pub mod letter;
pub mod outlet;
mod progress;
pub mod reaper;
mod reclaim;
pub mod registry;
pub mod session_actor;
pub mod socket;
pub mod stall;
pub mod take_over;
#[cfg(test)]
mod tests;
mod uploads;
mod wakes;

pub use chat_table::Caps;
pub use connection::{Connection, Consumer};
pub use registry::{Life, Phase, Registry, Seat};

use crate::{dispatch::Dispatcher, memory::Memory, metrics::Metrics, protocol, session};
use actix::{Addr, WeakAddr};
use intake::Intake;
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
    /// What a frame may hold where it may be a whole conversation, in place of `limits.frame_bytes`.
    pub transcript_bytes: u32,
    /// Requests that a socket may have open.
    pub requests: usize,
    pub messages: protocol::Limits,
    pub bounds: socket::Bounds,
    /// How long a message may take.
    pub deadlines: guard::Deadlines,
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
    pub life: Arc<Life>,
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
    pub life: Arc<Life>,
    pub memory: Arc<Memory>,
    pub metrics: Arc<Metrics>,
    lists: session_actor::Lists,
    wakes: wakes::Wakes,
    uploads: uploads::Uploads,
    kept: reclaim::Kept,
    /// The lines of those connections that sessions find by number: sessions of chats come from anywhere.
    lines: RefCell<HashMap<u64, Rc<outlet::Line>>>,
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
        let Shared { dispatcher, registry, life, memory, metrics } = shared;
        let worker = Rc::new(Worker {
            index,
            settings,
            session_settings,
            dispatcher,
            registry,
            life,
            memory,
            metrics,
            lists: session_actor::Lists::default(),
            wakes: wakes::Wakes::default(),
            uploads: uploads::Uploads::default(),
            kept: reclaim::Kept::default(),
            lines: RefCell::default(),
            intake: RefCell::new(Intake::new(settings.read_rate / TICKS_PER_SECOND)),
            began: Instant::now(),
            ticks: Cell::new(0),
            connections: RefCell::default(),
        });
        actix::spawn(reaper::run(Rc::clone(&worker)));
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
    fn line(&self, worker: usize, id: u64) -> Option<Rc<outlet::Line>> {
        (worker == self.index).then(|| self.lines.borrow().get(&id).cloned()).flatten()
    }

    /// The fine clock: nanoseconds since the worker began, enough for five centuries.
    pub fn nanos(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}
