//! State shared by all runs of a lane, and the limits of each run.
use super::{Router, RunSinks, stream_deadlines::StreamDeadlines};
use crate::{
    chat::RunEvent,
    metrics::Metrics,
    upstream::{Dialect, Limits, client::Client},
};
use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

/// Maximum bytes that a run allocates in addition to its request: until the head of a response arrives the buffers of the HTTP
/// library, then those of TLS, the decoder and the future.
pub const STREAM_BYTES: usize = 64 * 1024;

/// Limits of a run, and the dialect of its service.
#[derive(Debug)]
pub struct Settings {
    pub dialect: Dialect,
    pub limits: Limits,
    /// Maximum time between two bytes of an answer; then the run fails as timed out.
    pub stall: Duration,
    /// Maximum time of a run with all its attempts and pauses; then it fails as timed out.
    pub run_time: Duration,
    /// Maximum time until the session takes an event or the pending text; then the run ends as overloaded.
    pub delivery: Duration,
    /// Capacity of the lane's mailbox in runs: the number of slots, so that it is never full.
    pub mailbox: usize,
}

/// State shared by all runs of a lane.
pub(super) struct LaneShared {
    pub(super) client: Client,
    pub(super) settings: Arc<Settings>,
    pub(super) router: Arc<Router>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sinks: RunSinks,
    pub(super) deadlines: Rc<StreamDeadlines>,
    /// Used by one run during a poll and empty between polls: a list that all runs use in turn stays in the cache.
    pub(super) events: Cell<Vec<RunEvent>>,
}
