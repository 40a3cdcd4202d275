//! Where the next attempt of a run goes, and when. First attempts, retries and the circuit breaker are one decision,
//! [`Route::pick`]. Pure: time and randomness are arguments.
//!
//! There is one upstream, with one model and one key. Several of them are further candidates of `pick`; its callers
//! do not change.
mod judge;
pub mod retry;

pub use judge::{Blame, judge};

use super::breaker::{self, Asker, AttemptResult, Breaker, BreakerPermit, State};
use crate::chat::{FairShareKey, RunError, RunErrorKind};
use retry::RetryBudget;
use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

/// A model at an upstream. There is one upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The upstream's own name for the model.
    pub model: Arc<str>,
}

/// One of the keys of an upstream, by its position in the configuration. Logs call the first one `k1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub usize);

#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The target of requests for the model of that name.
    pub target: Target,
    pub retry: retry::Settings,
    pub breaker: breaker::Settings,
}

/// The state that all runs share: the breaker, and how many retries are left.
#[derive(Debug)]
pub struct Route {
    target: Target,
    retry: retry::Settings,
    budget: RetryBudget,
    breaker: Breaker,
}

/// What a run wants from the route, and what has become of its attempts so far.
#[derive(Debug)]
pub struct RouteRequest {
    /// As the client names it.
    model: Arc<str>,
    asker: Asker,
    /// The run has ended by then, all attempts and pauses counted.
    deadline: Instant,
    /// Attempts that were begun, without those that do not count.
    attempts: u32,
    /// The last attempt failed, and what follows is not decided yet.
    failed: Option<FailedAttempt>,
    has_begun: bool,
    /// One attempt over a reused connection that was dead did not count.
    has_replaced_dead: bool,
    /// One attempt over a new connection that the service closed did not count.
    has_excused: bool,
}

/// An attempt that failed before anything was shown.
#[derive(Debug)]
struct FailedAttempt {
    permit: BreakerPermit,
    error: RunError,
    lost: Option<LostConnection>,
}

/// Which connection ended under a request before the first byte of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostConnection {
    /// One that was made for the request.
    New,
    /// One of the pool, which is emptied by then: what ended it would have ended the others too.
    Reused,
}

/// What a run is to do next.
#[derive(Debug)]
pub enum Pick {
    /// Begin an attempt now.
    Go(Go),
    /// Pause, then ask again: another attempt may follow the one that failed with this error.
    Wait { after: Duration, error: RunError },
    /// End with this error.
    Refuse(RunError),
}

/// An attempt that may begin.
#[derive(Debug)]
pub struct Go {
    pub target: Target,
    pub key: Key,
    /// Its result must come back through [`Route::record`] or [`RouteRequest::fail`], the one of a cancelled
    /// attempt too.
    pub permit: BreakerPermit,
    /// The attempt before it lost this connection and does not count.
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

    /// Attempts so far, the one under way included.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The attempt under way failed before anything was shown. The next [`Route::pick`] judges it.
    pub fn fail(&mut self, permit: BreakerPermit, error: RunError, lost: Option<LostConnection>) {
        self.failed = Some(FailedAttempt { permit, error, lost });
    }
}

impl Route {
    pub fn new(settings: Settings) -> Self {
        Route {
            target: settings.target,
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
        if request.model != self.target.model {
            return Pick::Refuse(RunError::new(RunErrorKind::ModelNotFound, "no upstream has the model"));
        }
        match self.breaker.admit(now, request.asker) {
            Err(after) => Pick::Refuse(is_down(after)),
            Ok(permit) => {
                request.attempts = request.attempts.saturating_add(1);
                Pick::Go(Go { target: self.target.clone(), key: Key(0), permit, repeats })
            }
        }
    }

    /// Records the result of an attempt: it answered, or what its failure blames. May be called again for one
    /// permit: first that bytes arrived, then how it ended.
    pub fn record(&mut self, now: Instant, permit: BreakerPermit, result: Result<(), Blame>) {
        let result = result.map_or_else(Blame::for_breaker, |()| AttemptResult::Answered);
        self.breaker.report(now, permit, result);
    }

    /// A new connection that the service closes says little, once and as the first thing that happens; but the
    /// budget counts it.
    fn excuses(&mut self, request: &mut RouteRequest, lost: Option<LostConnection>) -> bool {
        let is_excused = lost.is_some()
            && !request.has_excused
            && request.attempts == 1
            && self.budget.withdraw(request.asker.client);
        request.has_excused |= is_excused;
        is_excused
    }

    /// Whether another attempt follows one that counts.
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
            _ => Pick::Refuse(error),
        }
    }
}

fn is_down(after: Duration) -> RunError {
    RunError::wait(RunErrorKind::UpstreamDown, after, "the breaker is open")
}

#[cfg(test)]
mod tests;
