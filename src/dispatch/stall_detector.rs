//! Pings each lane and reports a worker thread that does not run.
use super::{DispatchState, Lane};
use crate::metrics::Metrics;
use actix::prelude::*;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// Interval of pings to a lane.
const EVERY: Duration = Duration::from_millis(250);
/// A worker that has not answered for this long counts as stalled: it is logged and counted once.
const STALL: Duration = Duration::from_secs(1);

/// A ping to a lane; the reply shows that its thread runs.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Ping;

/// Watches one worker until its lane ends. Runs on the dispatcher's thread.
pub(super) async fn watch(worker: usize, lane: Addr<Lane>, metrics: Arc<Metrics>, state: Arc<DispatchState>) {
    loop {
        state.worker_answered(worker, Instant::now());
        sleep(EVERY).await;
        let since = Instant::now();
        let mut answer = std::pin::pin!(lane.send(Ping));
        let answered = match timeout(STALL, &mut answer).await {
            Ok(answered) => answered,
            Err(_) => {
                metrics.worker_stalls.inc();
                log::error!(worker = worker, silent_ms = STALL.as_millis() as u64; "a worker does not answer");
                let answered = answer.await;
                log::warn!(worker = worker, stalled_ms = since.elapsed().as_millis() as u64; "a worker answers again");
                answered
            }
        };
        if answered.is_err() {
            return state.lane_died(worker);
        }
    }
}

impl Handler<Ping> for Lane {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Self::Context) {}
}
