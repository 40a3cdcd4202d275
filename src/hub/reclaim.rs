//! Takes memory back when it is short: the hands of [`crate::memory`]. Runs on the workers' clock, so much
//! at a time that no worker stands still over it.
use super::{
    Worker,
    session_actor::{Bell, SessionActor},
};
use crate::{
    chat::{SessionId, Source},
    memory::{self, Kind, Level, Pressure},
    metrics,
};
use actix::WeakAddr;
use std::{cell::RefCell, collections::HashMap, time::Duration};

/// Chats that are evicted in one round, of which there are about three a second.
const CHATS_MAX: usize = 512;
/// Between two log lines about the same.
const QUIET: Duration = Duration::from_secs(10);

/// What the metric of things taken back counts.
pub(super) const MESSAGES: &str = "messages";
pub(super) const ANSWERS: &str = "answers";
pub(super) const CHATS: &str = "chats";

/// One worker's sessions that keep finished answers.
#[derive(Default)]
pub(super) struct Kept(RefCell<HashMap<SessionId, Keeper>>);

struct Keeper {
    source: Source,
    bytes: usize,
    session: WeakAddr<SessionActor>,
}

impl Kept {
    /// What a session keeps from now on.
    pub(super) fn set(
        &self,
        id: SessionId,
        source: Source,
        bytes: usize,
        session: impl FnOnce() -> WeakAddr<SessionActor>,
    ) {
        let mut table = self.0.borrow_mut();
        if bytes == 0 {
            drop(table);
            return self.remove(id);
        }
        let keeper = table.entry(id).or_insert_with(|| Keeper { source, bytes, session: session() });
        (keeper.source, keeper.bytes) = (source, bytes);
    }

    pub(super) fn remove(&self, id: SessionId) {
        let mut table = self.0.borrow_mut();
        table.remove(&id);
        if table.is_empty() {
            *table = HashMap::new();
        }
    }

    /// Takes out the sessions that are to give back what they keep, those with most first.
    fn take(
        &self,
        demands: &HashMap<Source, usize>,
        paid: &mut HashMap<Source, usize>,
    ) -> Vec<WeakAddr<SessionActor>> {
        let mut table = self.0.borrow_mut();
        let candidates = table.iter().map(|(id, keeper)| (keeper.bytes, keeper.source, *id));
        let chosen = memory::select_largest(candidates, demands, paid);
        chosen.iter().filter_map(|id| table.remove(id)).map(|keeper| keeper.session).collect()
    }
}

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
        tell(worker, now, pressure);
    }
    memory.reclaim(|demands| {
        let mut paid = HashMap::new();
        for _ in 0..worker.uploads.give_back(worker.now(), demands, &mut paid) {
            worker.metrics.memory_reclaimed.inc(MESSAGES);
        }
        for session in worker.kept.take(demands, &mut paid) {
            if let Some(session) = session.upgrade() {
                worker.metrics.memory_reclaimed.inc(ANSWERS);
                // The address is new, so it has a place of its own in the mailbox: this is never refused.
                let _ = session.try_send(Bell::GiveBack);
            }
        }
        paid
    });
}

fn tell(worker: &Worker, now: Duration, Pressure { held, wanted, sources, level }: Pressure) {
    if !worker.memory.may_log(now, QUIET) {
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
