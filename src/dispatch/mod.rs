//! The dispatcher: one actor for all sessions. It admits runs and passes each to the lane of its session's worker, so
//! that no delta changes threads. It handles a few messages per run and none per delta.
pub mod admission;
mod attempt;
pub mod channel;
mod lane;
mod local_run;
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
mod upstreams;

mod stall_detector;

pub use channel::RunChannel;
pub use lane::Lane;
pub use local_run::{LocalRun, LocalRuns};
pub use router::Router;
pub use shared::{STREAM_BYTES, Settings};
pub use sinks::RunSinks;
pub use state::{DispatchState, Load, SILENCE_MAX};
pub use upstreams::Upstream;

use crate::{
    access::Pass,
    chat::{FairShareKey, RunEnd, RunError, RunErrorKind, RunEvent, RunId, RunRecord, RunRequest, SessionId},
    mailbox,
    memory::Account,
    metrics::Metrics,
    protocol::Codec,
    upstream::{breaker::Asker, route},
};
use actix::prelude::*;
use admission::{Admission, Admitted};
use router::{KeptPlace, Room, RoomChanged};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Capacity of the dispatcher's mailbox in messages; when it is full, a run is rejected as overloaded.
const MAILBOX: usize = 4096;

/// Minimum pause before runs without room are looked at again.
const RECHECK_MIN: Duration = Duration::from_millis(10);

/// A run that a session submits.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SubmitRun {
    /// The pass of the client that asked the question.
    pub pass: Arc<Pass>,
    /// The memory of the run.
    pub account: Account<1>,
    pub session: SessionId,
    pub run: RunId,
    /// The wire format of the session's clients.
    pub codec: Codec,
    /// The session's worker, whose lane starts the run.
    pub worker: usize,
    pub request: RunRequest,
    pub sink: Recipient<RunUpdate>,
    pub channel: Arc<RunChannel>,
    pub submitted: tokio::time::Instant,
}

impl SubmitRun {
    /// What it asks the route for.
    fn ask(&self) -> route::RoomRequest {
        route::RoomRequest {
            model: Arc::clone(&self.request.model),
            asker: Asker { client: self.pass.fair_share_key(), session: self.session },
            tokens: self.request.tokens.prompt.into(),
            continues: self.request.continues(),
        }
    }
}

/// What becomes of a waiting run that gets a slot.
enum Readiness {
    Go(KeptPlace),
    Reject(RunError),
    Cancelled,
}

/// An event of a run for its session, except text. Sent by the dispatcher (queue position, rejection) and by the run.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RunUpdate {
    pub run: RunId,
    pub event: RunEvent,
}

/// Removes a cancelled run from the queue, if it is there.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CancelQueued {
    pub session: SessionId,
}

/// A worker has started its lane.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Register {
    pub worker: usize,
    pub lane: Addr<Lane>,
}

/// Sent every second; the reply is whether all lanes are alive.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct HealthCheck;

/// Requests the number of registered lanes, at the start.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct CountLanes;

/// A slot was freed.
#[derive(Message)]
#[rtype(result = "()")]
struct Finished {
    client: FairShareKey,
}

/// The right to a slot; dropping it frees the slot, however the run ended.
pub struct Permit {
    dispatcher: Addr<Dispatcher>,
    /// The client that the slot counts for.
    client: FairShareKey,
}

impl Drop for Permit {
    fn drop(&mut self) {
        mailbox::notify(&self.dispatcher, Finished { client: self.client });
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
    /// When runs without room at an upstream are looked at again, because another upstream may be usable then.
    recheck: Option<(Instant, SpawnHandle)>,
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
        let (admission, expiry, recheck) = (Admission::new(settings), None, None);
        Dispatcher { admission, lanes, router, metrics, sinks, state, expiry, recheck }
    }

    /// The state for probes and operators.
    pub fn state(&self) -> Arc<DispatchState> {
        Arc::clone(&self.state)
    }

    fn start_run(&mut self, ctx: &mut Context<Self>, submission: SubmitRun, place: KeptPlace) {
        let permit = Permit { dispatcher: ctx.address(), client: submission.pass.fair_share_key() };
        let lane = self.lanes.get(submission.worker).and_then(Option::as_ref);
        let Some(lane) = lane else {
            return self.reject(&submission, RunError::new(RunErrorKind::Internal, "the worker has no lane"));
        };
        if let Err(error) = lane.try_send(lane::Start { submission, permit, place }) {
            let (kind, detail) = match &error {
                SendError::Full(_) => (RunErrorKind::Overloaded, "the lane's mailbox is full"),
                SendError::Closed(_) => (RunErrorKind::Internal, "the lane is dead"),
            };
            self.reject(&error.into_inner().submission, RunError::new(kind, detail));
        }
    }

    fn expire(&mut self, ctx: &mut Context<Self>) {
        self.expiry = None;
        while let Some(submission) = self.admission.expire(now()) {
            self.reject(&submission, RunError::new(RunErrorKind::QueueTimeout, ""));
        }
        self.after_change(ctx);
    }

    /// Ends a run that was never started.
    fn reject(&self, submission: &SubmitRun, error: RunError) {
        let waited = submission.submitted.elapsed();
        self.sinks.record(RunRecord::rejected(
            (submission.session, submission.run),
            (&submission.request.model, submission.codec.name()),
            error.clone(),
            waited,
        ));
        let event = RunEvent::End(Box::new(RunEnd::failed(error)));
        mailbox::notify(&submission.sink, RunUpdate { run: submission.run, event });
    }

    /// The error of a run without a slot and a queue position. Its retry time is random, so that rejected clients do not
    /// all come back at once.
    fn busy(&self, detail: &str) -> RunError {
        let after = self.admission.busy_for(now()).mul_f64(1.0 + fastrand::f64());
        RunError::wait(RunErrorKind::Overloaded, after, detail)
    }

    /// Starts waiting runs while there are slots that they may have and upstreams with room for them. For use after a slot or a
    /// place at an upstream was freed, or a run left its queue.
    fn start_waiting(&mut self, ctx: &mut Context<Self>) {
        loop {
            let (router, mut recheck) = (Arc::clone(&self.router), None::<Duration>);
            let next = self.admission.start_next(|submission| {
                if submission.channel.is_cancelled() {
                    return Some(Readiness::Cancelled);
                }
                match router.room(&submission.ask()) {
                    Room::Free(place) => Some(Readiness::Go(place)),
                    // No run waits for an upstream whose breaker is open.
                    Room::Down(error) => Some(Readiness::Reject(error)),
                    Room::Full { again } => {
                        recheck = recheck.into_iter().chain(again).min();
                        None
                    }
                }
            });
            if let Some(after) = recheck {
                self.recheck_after(ctx, after);
            }
            let Some((submission, start)) = next else { return };
            match start {
                Readiness::Go(place) => self.start_run(ctx, submission, place),
                Readiness::Reject(error) => {
                    self.reject(&submission, error);
                    self.admission.finish(now(), submission.pass.fair_share_key());
                }
                Readiness::Cancelled => self.admission.finish(now(), submission.pass.fair_share_key()),
            }
        }
    }

    fn recheck_after(&mut self, ctx: &mut Context<Self>, after: Duration) {
        let at = now() + after.max(RECHECK_MIN);
        if self.recheck.is_some_and(|(earlier, _)| earlier <= at) {
            return;
        }
        let handle = ctx.run_later(at.saturating_duration_since(now()), |this, ctx| {
            this.recheck = None;
            this.after_change(ctx);
        });
        if let Some((_, later)) = self.recheck.replace((at, handle)) {
            ctx.cancel_future(later);
        }
    }

    /// To be called after every change of the admission: starts waiting runs, publishes the load, and sets the timer
    /// of the next expiry.
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
        self.router.set_waiting(ctx.address().downgrade().recipient());
    }
}

impl Handler<Register> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Register { worker, lane }: Register, _: &mut Self::Context) {
        // A worker that was restarted by the server has a new number.
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

    fn handle(&mut self, submission: SubmitRun, ctx: &mut Self::Context) {
        if submission.channel.is_cancelled() {
            return;
        }
        if self.admission.is_held() {
            self.start_waiting(ctx); // A place may have become free: those who wait for it are first.
        }
        let ask = submission.ask();
        let place = match self.router.room(&ask) {
            Room::Free(place) => Some(place),
            Room::Full { .. } => None,
            Room::Down(error) => return self.reject(&submission, error),
        };
        let (sink, run) = (submission.sink.clone(), submission.run);
        let client = ask.asker.client;
        let ask = admission::Ask { client, session: submission.session, model: ask.model };
        match (self.admission.submit(now(), ask, place.is_some(), submission), place) {
            (Admitted::Start(submission), Some(place)) => self.start_run(ctx, submission, place),
            (Admitted::Start(submission) | Admitted::Rejected(submission), _) => {
                self.reject(&submission, self.busy("no slot and no queue position"));
            }
            (Admitted::Queued { place, out }, _) => {
                if let Some(submission) = out {
                    self.reject(&submission, self.busy("its client has enough queue positions"));
                }
                // Informative only, so a session whose mailbox is full does not get it.
                let _ = sink.try_send(RunUpdate { run, event: RunEvent::Queued { position: place } });
            }
        }
        self.after_change(ctx);
    }
}

impl Handler<RoomChanged> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: RoomChanged, ctx: &mut Self::Context) {
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

    fn handle(&mut self, Finished { client }: Finished, ctx: &mut Self::Context) {
        self.admission.finish(now(), client);
        self.after_change(ctx);
    }
}

impl Handler<HealthCheck> for Dispatcher {
    type Result = bool;

    fn handle(&mut self, _: HealthCheck, _: &mut Self::Context) -> bool {
        self.lanes.iter().all(|lane| lane.as_ref().is_none_or(Addr::connected))
    }
}
