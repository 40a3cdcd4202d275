//! Decides where the next attempt of a run goes, and when. First attempts, retries and the circuit breaker are one
//! decision, [`Route::pick`]. Pure: time and randomness are arguments.
//!
//! Runs go to the first target of their model.
mod judge;
pub mod plan;
pub mod retry;

pub use judge::{Blame, judge};
pub use plan::{Plan, Target};

use super::breaker::{self, Asker, AttemptResult, Breaker, BreakerPermit, State};
use crate::chat::{FairShareKey, RunError, RunErrorKind};
use retry::RetryBudget;
use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

/// One of the keys of an upstream, by its position in the configuration. Logs call the first one `k1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub usize);

#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub plan: Plan,
    pub retry: retry::Settings,
    pub breaker: breaker::Settings,
}

/// The state that all runs share: the breaker and the retry budget.
#[derive(Debug)]
pub struct Route {
    plan: Plan,
    retry: retry::Settings,
    budget: RetryBudget,
    breaker: Breaker,
}

/// A run's request to the route, and the state of its attempts.
#[derive(Debug)]
pub struct RouteRequest {
    /// The client's name for the model.
    model: Arc<str>,
    asker: Asker,
    /// When the run must end, including all attempts and pauses.
    deadline: Instant,
    /// Attempts so far, without those that do not count.
    attempts: u32,
    /// The failed attempt that [`Route::pick`] has not judged yet.
    failed: Option<FailedAttempt>,
    has_begun: bool,
    /// An attempt was not counted because its reused connection was dead. This happens at most once per run.
    has_replaced_dead: bool,
    /// An attempt was not counted because the service closed its new connection. This happens at most once per run.
    has_excused: bool,
}

/// An attempt that failed before its first text.
#[derive(Debug)]
struct FailedAttempt {
    permit: BreakerPermit,
    error: RunError,
    lost: Option<LostConnection>,
}

/// The kind of connection that ended before the first byte of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostConnection {
    /// It was made for the request.
    New,
    /// It came from the pool, which was emptied since: its other connections are probably dead as well.
    Reused,
}

/// What a run does next.
#[derive(Debug)]
pub enum Pick {
    /// Start an attempt.
    Go(Go),
    /// Pause, then call [`Route::pick`] again, which may allow another attempt. `error` is that of the last one.
    Wait { after: Duration, error: RunError },
    /// End with this error.
    End(RunError),
}

/// An attempt that may start.
#[derive(Debug)]
pub struct Go {
    pub target: Target,
    pub key: Key,
    /// Its result must be reported by [`Route::record`] or [`RouteRequest::fail`], even if the attempt is cancelled.
    pub permit: BreakerPermit,
    /// Set if this attempt replaces one that lost its connection and does not count.
    pub repeats: Option<LostConnection>,
}

impl RouteRequest {
    pub fn new(model: Arc<str>, asker: Asker, deadline: Instant) -> Self {
        RouteRequest {
            model,
            asker,
            deadline,
            attempts: 0,
            failed: None,
            has_begun: false,
            has_replaced_dead: false,
            has_excused: false,
        }
    }

    /// Attempts so far, including the current one.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The current attempt failed before its first text. The next [`Route::pick`] judges it.
    pub fn fail(&mut self, permit: BreakerPermit, error: RunError, lost: Option<LostConnection>) {
        self.failed = Some(FailedAttempt { permit, error, lost });
    }
}

impl Route {
    pub fn new(settings: Settings) -> Self {
        Route {
            plan: settings.plan,
            retry: settings.retry,
            budget: RetryBudget::new(settings.retry.budget_percent),
            breaker: Breaker::new(settings.breaker),
        }
    }

    /// The state of the breaker.
    pub fn state(&self) -> State {
        self.breaker.state()
    }

    /// Why no target accepts a request of this client now; `None` if one does.
    pub fn rejection(&self, now: Instant, client: FairShareKey) -> Option<RunError> {
        self.breaker.wait_for(now, client).map(is_down)
    }

    /// What a run does next: at its start, after [`RouteRequest::fail`], and after a pause. `random` is in 0..1.
    pub fn pick(&mut self, now: Instant, random: f64, request: &mut RouteRequest) -> Pick {
        if !mem::replace(&mut request.has_begun, true) {
            self.budget.deposit();
        }
        let mut repeats = None;
        if let Some(failed) = request.failed.take() {
            let replaces_dead = failed.lost == Some(LostConnection::Reused)
                && !mem::replace(&mut request.has_replaced_dead, true);
            if !replaces_dead && !self.excuses(request, failed.lost) {
                return self.after_failure(now, random, request, failed);
            }
            repeats = failed.lost;
            request.attempts = request.attempts.saturating_sub(1);
            self.breaker.report(now, failed.permit, AttemptResult::Unknown);
        }
        let Some(target) = self.target(&request.model) else {
            return Pick::End(RunError::new(RunErrorKind::ModelNotFound, "no upstream has the model"));
        };
        match self.breaker.admit(now, request.asker) {
            Err(after) => Pick::End(is_down(after)),
            Ok(permit) => {
                request.attempts = request.attempts.saturating_add(1);
                Pick::Go(Go { target, key: Key(0), permit, repeats })
            }
        }
    }

    /// Records the result of an attempt: success, or what its failure is attributed to. May be called twice for one
    /// permit: when the first bytes arrive, and at the end.
    pub fn record(&mut self, now: Instant, permit: BreakerPermit, result: Result<(), Blame>) {
        let result = result.map_or_else(Blame::for_breaker, |()| AttemptResult::Answered);
        self.breaker.report(now, permit, result);
    }

    fn target(&self, model: &str) -> Option<Target> {
        let first = self.plan.models.get(self.plan.find(model)?)?.levels.first()?.first()?;
        Some(Target { upstream: first.upstream, model: Arc::clone(&first.model) })
    }

    /// Whether an attempt that lost its new connection is not counted: only the first attempt of a run, and only if the
    /// retry budget allows it.
    fn excuses(&mut self, request: &mut RouteRequest, lost: Option<LostConnection>) -> bool {
        let is_excused = lost.is_some()
            && !request.has_excused
            && request.attempts == 1
            && self.budget.withdraw(request.asker.client);
        request.has_excused |= is_excused;
        is_excused
    }

    /// Decides whether another attempt follows a failed one that counts.
    fn after_failure(
        &mut self,
        now: Instant,
        random: f64,
        request: &RouteRequest,
        FailedAttempt { permit, error, lost }: FailedAttempt,
    ) -> Pick {
        self.record(now, permit, Err(judge(&error, false, lost.is_some())));
        let client = request.asker.client;
        match self.retry.next_pause(request.attempts, &error, random) {
            Some(after)
                if now + after < request.deadline
                    && self.breaker.wait_for(now, client).is_none()
                    && self.budget.withdraw(client) =>
            {
                Pick::Wait { after, error }
            }
            _ => Pick::End(error),
        }
    }
}

fn is_down(after: Duration) -> RunError {
    RunError::wait(RunErrorKind::UpstreamDown, after, "the breaker is open")
}

#[cfg(test)]
mod tests;
