//! What all runs of a lane share, and the bounds that each of them has.
use super::{Router, RunSinks, stream_deadlines::StreamDeadlines};
use crate::{
    chat::RunEvent,
    metrics::Metrics,
    upstream::{Dialect, Limits, client::Client},
};
use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

/// What a run holds at most in addition to its request, in bytes: until the head of a response the buffers of the HTTP library,
/// then those of TLS, decoder and task.
pub const STREAM_BYTES: usize = 64 * 1024;

/// What a run may take.
#[derive(Debug)]
pub struct Settings {
    pub dialect: Dialect,
    pub limits: Limits,
    /// Longest silence between bytes of an answer.
    pub stall: Duration,
    /// Longest run, all attempts and pauses counted.
    pub run_time: Duration,
    /// How long a run waits for room in the mailbox of its session, for each word.
    pub delivery: Duration,
    /// Runs that may be handed over at once; as many as there are slots.
    pub mailbox: usize,
}

/// What all runs of a lane share.
pub(super) struct LaneShared {
    pub(super) client: Client,
    pub(super) settings: Arc<Settings>,
    pub(super) router: Arc<Router>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sinks: RunSinks,
    pub(super) deadlines: Rc<StreamDeadlines>,
    /// Lent to each run for one poll: one list for all stays in the cache.
    pub(super) events: Cell<Vec<RunEvent>>,
}
