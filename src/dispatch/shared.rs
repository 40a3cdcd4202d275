//! State shared by all runs of a lane, and the limits of each run.
use super::{Router, RunSinks, stream_deadlines::StreamDeadlines, upstreams::LaneUpstream};
use crate::{chat::RunEvent, metrics::Metrics, upstream::route::Target};
use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

/// Maximum bytes that a run allocates in addition to its request: until the head of a response arrives the buffers of the HTTP
/// library, then those of TLS, the decoder and the future.
pub const STREAM_BYTES: usize = 64 * 1024;

/// Limits of a run.
#[derive(Debug)]
pub struct Settings {
    /// Maximum time of a run with all its attempts and pauses; then it fails as timed out.
    pub run_time: Duration,
    /// Maximum time until the session takes an event or the pending text; then the run ends as overloaded.
    pub delivery: Duration,
    /// Capacity of the lane's mailbox in runs: the number of slots, so that it is never full.
    pub mailbox: usize,
}

/// State shared by all runs of a lane.
pub(super) struct LaneShared {
    pub(super) upstreams: Box<[LaneUpstream]>,
    pub(super) settings: Arc<Settings>,
    pub(super) router: Arc<Router>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sinks: RunSinks,
    pub(super) deadlines: Rc<StreamDeadlines>,
    /// Used by one run during a poll and empty between polls: a list that all runs use in turn stays in the cache.
    pub(super) events: Cell<Vec<RunEvent>>,
}

impl LaneShared {
    /// The upstream of this target.
    pub(super) fn upstream(&self, target: &Target) -> &LaneUpstream {
        &self.upstreams[target.upstream]
    }

    /// Removes all keys of all upstreams from a text of an upstream, which may repeat the key that was sent.
    pub(super) fn redact(&self, text: &mut String) {
        self.upstreams.iter().for_each(|upstream| upstream.shared.client.redact(text));
    }
}
