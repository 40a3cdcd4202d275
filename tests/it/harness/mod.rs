//! What the tests share: gateways in this process and in their own, a client with a transcript, scripted upstreams.
mod chats;
mod client;
mod crowd;
mod echo;
mod gateway;
pub(crate) mod kernel;
mod lateness;
pub(crate) mod netns;
pub(crate) mod nginx;
mod process;
mod upstream;

pub(crate) use chats::{Answer, Chats, End, ask, ask_with, resume};
pub(crate) use client::{Outcome, RawClient, TestClient, frame, frame_head, handshake, is_error};
pub(crate) use crowd::{Crowd, Turn, come_back, quantile, short_or_long};
pub(crate) use echo::echo;
pub(crate) use gateway::{Gateway, get_over, get_with, http_get, http_try};
pub(crate) use kernel::allow_descriptors;
pub(crate) use lateness::{Stopwatch, Took, on_a_steady_machine, within};
pub(crate) use nginx::Nginx;
pub(crate) use process::{Ended, Process, Tidegate};
pub(crate) use upstream::{
    CannedUpstream, ScriptedUpstream, event, good_answer, json_answer, read_request, sse_head,
};

use std::time::Duration;

/// Nothing in a test may take longer than this, the machine's own pauses not counted.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The limit for what happens at once, on a shared machine. Any other cause of the same result, above all a
/// timeout, takes longer in every test that uses this.
pub(crate) const SOON: Duration = Duration::from_secs(2);

/// Polls until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    within(what, PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
