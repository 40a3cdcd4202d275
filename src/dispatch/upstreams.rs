//! The upstreams of a lane: what all lanes know of each, and the lane's own client of it.
use crate::upstream::{
    Dialect, Limits,
    client::{Client, ClientConfig},
};
use std::{cell::OnceCell, sync::Arc, time::Duration};
use tokio::time::Instant;

/// One upstream. Shared by all lanes; a target names it by its position.
#[derive(Clone)]
pub struct Upstream {
    pub client: Arc<ClientConfig>,
    pub dialect: Arc<Dialect>,
    pub limits: Limits,
    /// Maximum time between two bytes of an answer; then the run fails as timed out.
    pub stall: Duration,
}

/// An upstream in one lane.
pub(super) struct LaneUpstream {
    pub(super) shared: Upstream,
    /// Made when it is first used: an upstream that this lane never asks costs nothing.
    client: OnceCell<Box<Client>>,
}

impl LaneUpstream {
    pub(super) fn new(shared: &Upstream) -> Self {
        LaneUpstream { shared: shared.clone(), client: OnceCell::new() }
    }

    pub(super) fn client(&self) -> &Client {
        self.client.get_or_init(|| Box::new(Client::new(Arc::clone(&self.shared.client))))
    }

    /// Closes kept connections that were idle for too long.
    pub(super) fn close_idle(&self, now: Instant) {
        if let Some(client) = self.client.get() {
            client.close_idle(now);
        }
    }
}
