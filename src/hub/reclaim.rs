//! Reclaims memory under pressure: carries out the decisions of [`crate::memory`] on the workers' clock, in
//! steps small enough not to block a worker.
use super::{messages::SessionSignal, worker::Worker};
use crate::{
    log_throttle::LogThrottle,
    memory::{Kind, Level, Pressure},
    metrics,
};
use std::{collections::HashMap, time::Duration};

/// Maximum chats evicted per round (about three rounds per second).
const CHATS_MAX: usize = 512;
/// At most one log line about short memory in this time.
static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(10));

/// Labels of the metric of reclaimed memory.
pub(super) const MESSAGES: &str = "messages";
pub(super) const ANSWERS: &str = "answers";
pub(super) const CHATS: &str = "chats";

/// One tick of one worker.
pub(super) fn tick(worker: &Worker) {
    let memory = &worker.memory;
    let now = memory.since_begin(tokio::time::Instant::now().into_std());
    if memory.is_sample_due(now) {
        if let Some(used) = metrics::resident_bytes() {
            memory.observe(now, used);
        }
        for kind in Kind::ALL {
            worker.metrics.memory_held(kind, memory.held(kind));
        }
    }
    if memory.level() == Level::Calm {
        return;
    }
    let evict = |source, held| {
        let chats = worker.registry.chats_of(source);
        let evicted = worker.registry.evict_idle_of(source);
        evicted.then(|| {
            worker.metrics.memory_reclaimed.inc(CHATS);
            held / chats.max(1)
        })
    };
    if let Some(pressure) = memory.plan(now, CHATS_MAX, evict) {
        report(worker, pressure);
    }
    memory.reclaim(|demands| {
        let mut paid = HashMap::new();
        for _ in 0..worker.sockets.uploads.reclaim(worker.now(), demands, &mut paid) {
            worker.metrics.memory_reclaimed.inc(MESSAGES);
        }
        for id in worker.retained.take(demands, &mut paid) {
            if let Some(session) = worker.registry.session(id) {
                worker.metrics.memory_reclaimed.inc(ANSWERS);
                session.signal(SessionSignal::ReleaseRetained);
            }
        }
        paid
    });
}

fn report(worker: &Worker, Pressure { held, wanted, sources, level }: Pressure) {
    if THROTTLE.due(tokio::time::Instant::now().into_std()).is_none() {
        return;
    }
    let (limit, mib) = (worker.memory.limit().bytes >> 20, |bytes: usize| bytes >> 20);
    let refused = match level {
        Level::Calm | Level::Tight => "",
        Level::Full => "; large ones are refused questions",
        Level::Over => "; only small ones may ask questions",
    };
    log::warn!(
        "memory is short: {} MiB held, memory.max is {limit} MiB; {} MiB are taken back from {sources} \
         client networks{refused}",
        mib(held),
        mib(wanted),
    );
}
