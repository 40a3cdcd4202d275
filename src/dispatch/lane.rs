//! One worker's lane: owns that worker's client and its pool, and runs each stream as a task.
use super::{Breaker, Order, Permit, retry, run, watch::Watch};
use crate::{
    chat::RunEvent,
    metrics::Metrics,
    upstream::{client::Client, dashscope},
};
use actix::prelude::*;
use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

/// What a run holds beside its request: its connection with buffers (awc: about 50 KiB), decoder and task.
pub const STREAM_BYTES: usize = 64 * 1024;

/// What a run may take.
#[derive(Clone, Debug)]
pub struct Settings {
    pub dialect: dashscope::Settings,
    pub limits: dashscope::Limits,
    pub retry: retry::Settings,
    /// Longest silence between bytes of an answer.
    pub stall: Duration,
    /// Longest run, all attempts and pauses counted.
    pub run_time: Duration,
    /// How long a run waits for room in the mailbox of its session, for each word.
    pub delivery: Duration,
    /// Runs that may be handed over at once; as many as there are slots.
    pub mailbox: usize,
}

/// An admitted run. Sent by the dispatcher; a drop gives the slot back.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Start {
    pub(super) order: Order,
    pub(super) permit: Permit,
}

/// What all runs of a lane share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) settings: Arc<Settings>,
    pub(super) budget: Arc<retry::Budget>,
    pub(super) breaker: Arc<Breaker>,
    /// What the answers of all lanes have shown.
    pub(super) habit: Arc<dashscope::Habit>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) watch: Rc<Watch>,
    /// Lent to each run for one poll: one list for all stays in the cache.
    pub(super) events: Cell<Vec<RunEvent>>,
}

pub struct Lane {
    shared: Rc<Shared>,
}

impl Lane {
    pub fn new(
        client: Client,
        settings: Arc<Settings>,
        budget: Arc<retry::Budget>,
        breaker: Arc<Breaker>,
        habit: Arc<dashscope::Habit>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (watch, events) = Default::default();
        Lane { shared: Rc::new(Shared { client, settings, budget, breaker, habit, metrics, watch, events }) }
    }
}

impl Actor for Lane {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(self.shared.settings.mailbox);
        actix::spawn(Rc::clone(&self.shared.watch).run());
    }
}

impl Handler<Start> for Lane {
    type Result = ();

    fn handle(&mut self, Start { order, permit }: Start, _: &mut Self::Context) {
        // A task of its own, never one of the actor's: an actor polls all of its futures on every
        // wake. The permit goes back when the task ends, however it ends.
        actix::spawn(run::execute(Rc::clone(&self.shared), order, permit));
    }
}
