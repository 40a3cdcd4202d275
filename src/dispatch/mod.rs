//! The dispatcher: one actor for all sessions. It admits runs, and hands each to the lane of its
//! session's own worker, so that a delta never changes threads. It handles a few messages per
//! run, and no delta.
pub mod admission;
mod attempt;
pub mod channel;
mod lane;
mod meter;
mod recorder;
mod router;
mod run;
mod shared;
mod sinks;
mod state;
mod stream;
mod stream_deadlines;
#[cfg(test)]
mod tests;

mod stall_detector;

pub use channel::RunChannel;
pub use lane::Lane;
pub use router::Router;
pub use shared::{STREAM_BYTES, Settings};
pub use sinks::RunSinks;
pub use state::{DispatchState, Load, SILENCE_MAX};

use crate::{
    access::Pass,
    chat::{FairShareKey, RunEnd, RunError, RunErrorKind, RunEvent, RunId, RunRecord, RunRequest, SessionId},
    mailbox,
    memory::Account,
    metrics::Metrics,
};
use actix::prelude::*;
use admission::{Admission, Admitted};
use std::{sync::Arc, time::Instant};

/// Messages that may wait for the dispatcher; beyond it a run is refused as overloaded.
const MAILBOX: usize = 4096;

/// A run that a session wants. Sent by a session actor; a drop means that the session is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SubmitRun {
    /// Of the client that asked for it.
    pub pass: Arc<Pass>,
    /// What it holds.
    pub account: Account<1>,
    pub session: SessionId,
    pub run: RunId,
    /// The session's worker; its lane executes the run.
    pub worker: usize,
    pub request: RunRequest,
    pub sink: Recipient<RunUpdate>,
    pub channel: Arc<RunChannel>,
    pub submitted: tokio::time::Instant,
}

/// An event of a run, for its session. Sent by the dispatcher (queue) and by the run's task.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RunUpdate {
    pub run: RunId,
    pub event: RunEvent,
}

/// A session takes back a run that may still be waiting.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CancelQueued {
    pub session: SessionId,
}

/// A worker's lane is there.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Register {
    pub worker: usize,
    pub lane: Addr<Lane>,
}

/// Sent each second; the answer is whether the dispatcher and all lanes are alive.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct HealthCheck;

/// Asked at the start: how many lanes have registered.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct CountLanes;

/// A slot is free again.
#[derive(Message)]
#[rtype(result = "()")]
struct Finished {
    source: FairShareKey,
}

/// A taken slot. Dropping it gives the slot back, whatever became of the run.
pub struct Permit {
    dispatcher: Addr<Dispatcher>,
    /// Whose slot it is.
    source: FairShareKey,
}

impl Drop for Permit {
    fn drop(&mut self) {
        mailbox::notify(&self.dispatcher, Finished { source: self.source });
    }
}

pub struct Dispatcher {
    admission: Admission<SubmitRun>,
    lanes: Vec<Option<Addr<Lane>>>,
    router: Arc<Router>,
    metrics: Arc<Metrics>,
    sinks: RunSinks,
    state: Arc<DispatchState>,
    expiry: Option<SpawnHandle>,
}

impl Dispatcher {
    /// A dispatcher for `workers` lanes.
    pub fn new(
        settings: admission::Settings,
        workers: usize,
        router: Arc<Router>,
        metrics: Arc<Metrics>,
        sinks: RunSinks,
    ) -> Self {
        let lanes = vec![None; workers];
        let state = Arc::new(DispatchState::new(workers, tokio::time::Instant::now()));
        Dispatcher { admission: Admission::new(settings), lanes, router, metrics, sinks, state, expiry: None }
    }

    /// What probes and operators see.
    pub fn state(&self) -> Arc<DispatchState> {
        Arc::clone(&self.state)
    }

    fn start_run(&mut self, ctx: &mut Context<Self>, order: SubmitRun) {
        let permit = Permit { dispatcher: ctx.address(), source: order.pass.fair_share_key() };
        let lane = self.lanes.get(order.worker).and_then(Option::as_ref);
        let Some(lane) = lane else {
            return self.refuse(&order, RunError::new(RunErrorKind::Internal, "the worker has no lane"));
        };
        if let Err(error) = lane.try_send(lane::Start { order, permit }) {
            let (kind, detail) = match &error {
                SendError::Full(_) => (RunErrorKind::Overloaded, "the lane's mailbox is full"),
                SendError::Closed(_) => (RunErrorKind::Internal, "the lane is dead"),
            };
            self.refuse(&error.into_inner().order, RunError::new(kind, detail));
        }
    }

    fn expire(&mut self, ctx: &mut Context<Self>) {
        self.expiry = None;
        while let Some(order) = self.admission.expire(now()) {
            self.refuse(&order, RunError::new(RunErrorKind::QueueTimeout, ""));
        }
        self.after_change(ctx);
    }

    /// Ends a run that never started.
    fn refuse(&self, order: &SubmitRun, error: RunError) {
        let waited = order.submitted.elapsed();
        self.sinks.record(&RunRecord::rejected(
            (order.session, order.run),
            &order.request.model,
            error.clone(),
            waited,
        ));
        let event = RunEvent::End(Box::new(RunEnd::failed(error)));
        mailbox::notify(&order.sink, RunUpdate { run: order.run, event });
    }

    /// Why a run is not even tried: the upstream is left alone.
    fn down(&self, source: FairShareKey) -> Option<RunError> {
        self.router.refuses(source)
    }

    /// The refusal for want of a place. A random time is added, so that not all come back together.
    fn busy(&self, detail: &str) -> RunError {
        let after = self.admission.busy_for(now()).mul_f64(1.0 + fastrand::f64());
        RunError::wait(RunErrorKind::Overloaded, after, detail)
    }

    /// A slot came free or a run left the queue: the next waiting runs take the slots that they may have.
    fn start_waiting(&mut self, ctx: &mut Context<Self>) {
        while let Some(order) = self.admission.start_next() {
            if order.channel.is_cancelled() {
                self.admission.finish(now(), order.pass.fair_share_key());
                continue;
            }
            match self.down(order.pass.fair_share_key()) {
                None => self.start_run(ctx, order),
                // No run waits for an upstream whose breaker is open.
                Some(error) => {
                    self.refuse(&order, error);
                    self.admission.finish(now(), order.pass.fair_share_key());
                }
            }
        }
    }

    /// Updates slots, the visible load and the one timer.
    fn after_change(&mut self, ctx: &mut Context<Self>) {
        self.start_waiting(ctx);
        let load = Load { running: self.admission.running(), queued: self.admission.queued() };
        self.state.set_load(load);
        self.metrics.runs.set(load.running as i64);
        self.metrics.runs_queued.set(load.queued as i64);
        if self.expiry.is_none()
            && let Some(deadline) = self.admission.next_deadline()
        {
            let wait = deadline.saturating_duration_since(now());
            self.expiry = Some(ctx.run_later(wait, |this, ctx| this.expire(ctx)));
        }
    }
}

/// The dispatcher's clock.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Register> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Register { worker, lane }: Register, _: &mut Self::Context) {
        // A worker that was restarted by the server comes with a new number.
        if worker >= self.lanes.len() {
            self.lanes.resize(worker + 1, None);
        }
        let (metrics, state) = (Arc::clone(&self.metrics), Arc::clone(&self.state));
        actix::spawn(stall_detector::watch(worker, lane.clone(), metrics, state));
        self.lanes[worker] = Some(lane);
    }
}

impl Handler<CountLanes> for Dispatcher {
    type Result = usize;

    fn handle(&mut self, _: CountLanes, _: &mut Self::Context) -> usize {
        self.lanes.iter().flatten().count()
    }
}

impl Handler<SubmitRun> for Dispatcher {
    type Result = ();

    fn handle(&mut self, order: SubmitRun, ctx: &mut Self::Context) {
        if order.channel.is_cancelled() {
            return;
        }
        if let Some(error) = self.down(order.pass.fair_share_key()) {
            return self.refuse(&order, error);
        }
        let (sink, run) = (order.sink.clone(), order.run);
        match self.admission.submit(now(), order.pass.fair_share_key(), order.session, order) {
            Admitted::Start(order) => self.start_run(ctx, order),
            Admitted::Refused(order) => self.refuse(&order, self.busy("no slot and no place")),
            Admitted::Queued { place, out } => {
                if let Some(order) = out {
                    self.refuse(&order, self.busy("others of its address have enough places"));
                }
                // The position is a courtesy; a session whose mailbox is full does without.
                let _ = sink.try_send(RunUpdate { run, event: RunEvent::Queued { position: place } });
            }
        }
        self.after_change(ctx);
    }
}

impl Handler<CancelQueued> for Dispatcher {
    type Result = ();

    fn handle(&mut self, CancelQueued { session }: CancelQueued, ctx: &mut Self::Context) {
        self.admission.withdraw(session);
        self.after_change(ctx);
    }
}

impl Handler<Finished> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Finished { source }: Finished, ctx: &mut Self::Context) {
        self.admission.finish(now(), source);
        self.after_change(ctx);
    }
}

impl Handler<HealthCheck> for Dispatcher {
    type Result = bool;

    fn handle(&mut self, _: HealthCheck, _: &mut Self::Context) -> bool {
        self.lanes.iter().all(|lane| lane.as_ref().is_none_or(Addr::connected))
    }
}
