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
mod simulated;
mod tls;
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
pub(crate) use simulated::Simulated;
pub(crate) use tls::{Authority, Over, TlsFront};
pub(crate) use upstream::{
    CannedUpstream, ScriptedUpstream, event, good_answer, json_answer, read_request, sse_head,
};

use std::time::Duration;

/// Default timeout of everything that a test waits for, not counting stalls of the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Timeout for what should happen immediately, with room for a shared machine. In every test that uses it, other causes
/// of the same result, such as a timeout of the gateway, take longer.
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
