//! The lane of one worker: owns the worker's client with its connections, and starts the runs that are admitted.
use super::{
    LocalRuns, Permit, Router, RunSinks, Settings, SubmitRun, Upstream, router::KeptPlace, run,
    shared::LaneShared, stream_deadlines::StreamDeadlines, upstreams::LaneUpstream,
};
use crate::{metrics::Metrics, worker_clock::WorkerClock};
use actix::prelude::*;
use std::{cell::Cell, rc::Rc, sync::Arc};

/// An admitted run. Sent by the dispatcher; dropping it gives the slot back.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Start {
    pub(super) submission: SubmitRun,
    pub(super) permit: Permit,
    pub(super) place: KeptPlace,
}

pub struct Lane {
    shared: Rc<LaneShared>,
    local_runs: LocalRuns,
}

impl Lane {
    pub fn new(
        upstreams: &[Upstream],
        settings: Arc<Settings>,
        router: Arc<Router>,
        metrics: Arc<Metrics>,
        sinks: RunSinks,
        clock: &Rc<WorkerClock>,
    ) -> Self {
        let (deadlines, events) = (StreamDeadlines::start(clock), Cell::default());
        let upstreams = upstreams.iter().map(LaneUpstream::new).collect();
        let shared = Rc::new(LaneShared { upstreams, settings, router, metrics, sinks, deadlines, events });
        let lane = Rc::downgrade(&shared);
        clock.on_tick(move |tick| {
            if let Some(lane) = lane.upgrade() {
                lane.upstreams.iter().for_each(|upstream| upstream.close_idle(tick.due));
            }
        });
        Lane { shared, local_runs: LocalRuns::default() }
    }

    /// For the sessions of the lane's thread, which then poll their runs themselves.
    pub fn local_runs(&self) -> LocalRuns {
        self.local_runs.clone()
    }
}

impl Actor for Lane {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(self.shared.settings.mailbox);
    }
}

impl Handler<Start> for Lane {
    type Result = ();

    fn handle(&mut self, Start { submission, permit, place }: Start, _: &mut Self::Context) {
        // Never a future of this actor, which would poll all runs on every wake. The slot is given back when
        // the future ends or is dropped.
        let (key, channel) = ((submission.session, submission.run), Arc::clone(&submission.channel));
        let run = run::execute(Rc::clone(&self.shared), submission, permit, place);
        self.local_runs.start(key, &channel, Box::pin(run));
    }
}
