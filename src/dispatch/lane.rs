//! One worker's lane: owns that worker's client and its pool, and runs each stream as a task.
use super::{
    Permit, Router, RunSinks, Settings, SubmitRun, run, shared::LaneShared, stream_deadlines::StreamDeadlines,
};
use crate::{metrics::Metrics, upstream::client::Client, worker_clock::WorkerClock};
use actix::prelude::*;
use std::{cell::Cell, rc::Rc, sync::Arc};

/// An admitted run. Sent by the dispatcher; a drop gives the slot back.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Start {
    pub(super) submission: SubmitRun,
    pub(super) permit: Permit,
}

pub struct Lane {
    shared: Rc<LaneShared>,
}

impl Lane {
    pub fn new(
        client: Client,
        settings: Arc<Settings>,
        router: Arc<Router>,
        metrics: Arc<Metrics>,
        sinks: RunSinks,
        clock: &Rc<WorkerClock>,
    ) -> Self {
        let (deadlines, events) = (StreamDeadlines::start(clock), Cell::default());
        let shared = LaneShared { client, settings, router, metrics, sinks, deadlines, events };
        Lane { shared: Rc::new(shared) }
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

    fn handle(&mut self, Start { submission, permit }: Start, _: &mut Self::Context) {
        // A task of its own, never one of the actor's: an actor polls all of its futures on every
        // wake. The permit goes back when the task ends, however it ends.
        actix::spawn(run::execute(Rc::clone(&self.shared), submission, permit));
    }
}
