//! Decides where the next attempt of a run goes, and when. First attempts, retries, moves to other targets, keys and
//! circuit breakers are one decision, [`Route::pick`]. Pure: time and randomness are arguments.
//!
//! A model with one target and no fallback is *alone*: its failed attempts are repeated as `retry.*` says. Where another target
//! else exists, a run moves there at once, and pauses only before it asks the same target again.
mod candidate;
mod failure;
mod first_tokens;
mod health;
mod judge;
mod model;
pub mod plan;
mod probe;
mod request;
pub mod retry;
mod room;
mod state;

pub use health::{Health, KeyCounts, ModelHealth, ModelState, TargetHealth, TargetStanding, UpstreamHealth};
pub use judge::{Blame, judge};
pub use plan::{RoutePlan as Plan, Target};
pub use probe::{PROBE_TIME, Probe, ProbeResult, ProbeSubject};
pub use request::{Affinity, RouteRequest, Shown};
pub use room::{Room, RoomRequest};
pub use state::{Event, Permit, Place};

use super::breaker;
use crate::chat::{RunError, RunErrorKind};
use candidate::{Among, Dice, Obstacle};
use model::ModelTargets;
use state::Known;
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
    pub limits: Limits,
    pub retry: retry::Settings,
    pub breaker: breaker::Settings,
}

/// Bounds of runs that have another target to move to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest stated time that a run waits for a target.
    pub wait: Duration,
    /// Attempts of a run in all.
    pub attempts: u32,
    pub mid_answer: MidAnswer,
}

/// What follows an answer that breaks off after some of it was shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MidAnswer {
    /// Another attempt begins it anew, once in a run, where another target exists.
    #[default]
    Restart,
    /// Another attempt goes on with it, once in a run, at a target of the same name that can; also where no other target
    /// exists. Else as [`MidAnswer::Restart`].
    Continue,
    /// It ends incomplete.
    Off,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { wait: Duration::from_secs(3), attempts: 6, mid_answer: MidAnswer::Restart }
    }
}

/// The state that all runs share.
#[derive(Debug)]
pub struct Route {
    plan: Plan,
    limits: Limits,
    retry: retry::Settings,
    breaker: breaker::Settings,
    /// As in the plan.
    models: Vec<Arc<ModelTargets>>,
    state: Known,
    /// The time from which [`Affinity`] counts: that of the first pick.
    origin: Option<Instant>,
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
    /// Pause, then call [`Route::pick`] again, which may allow an attempt. `error` is that of the last one; `None` if nothing
    /// failed and a target is waited for that stated when it is free.
    Wait { after: Duration, error: Option<RunError> },
    /// Every target that could be asked has as many runs as it may have, and no place was kept for this run.
    Full,
    /// End with this error.
    End(RunError),
}

/// An attempt that may start.
#[derive(Debug)]
pub struct Go {
    pub target: Target,
    /// The name of its upstream.
    pub upstream: Arc<str>,
    /// The name in the configuration of the model whose target it is: that of the run, or of one of its fallbacks.
    pub table: Arc<str>,
    /// What clients call the model that answers: the one that was asked for, or a fallback.
    pub model: Arc<str>,
    pub key: Key,
    /// Its result must be reported by [`Route::record`] and its place given back by [`Route::release`], even if the attempt is
    /// cancelled; [`RouteRequest::fail`] does both.
    pub permit: Permit,
    /// Set if this attempt replaces one that lost its connection and does not count.
    pub repeats: Option<LostConnection>,
    /// From sending the request to the first text or reasoning; then the attempt fails.
    pub first_token: Duration,
    /// Between two pieces of text or reasoning; then the attempt fails.
    pub text: Duration,
    /// It goes on with what was shown of the answer.
    pub continues: bool,
    /// If it breaks off, a target may go on with what was shown of it, which is kept for that.
    pub keeps_text: bool,
}

impl Route {
    pub fn new(settings: Settings) -> Self {
        let Settings { plan, limits, retry, breaker } = settings;
        let (models, state) = (Vec::new(), Known::default());
        let mut route = Route { plan: Plan::default(), limits, retry, breaker, models, state, origin: None };
        route.set_plan(plan);
        route
    }

    /// Replaces the models that can be asked for. Upstreams are added behind those that are known and are never taken away;
    /// targets that stay keep their state, and runs that have begun keep their targets.
    pub fn set_plan(&mut self, plan: Plan) {
        self.state.adopt(&plan, self.breaker, self.retry.budget_percent);
        self.models =
            plan.models.iter().map(|model| Arc::new(ModelTargets::new(&plan, model, &self.state))).collect();
        self.plan = plan;
        self.state.has_room = true;
    }

    /// How many upstreams there are.
    pub fn upstreams(&self) -> usize {
        self.state.upstreams.len()
    }

    /// The name of an upstream in the configuration.
    pub fn upstream_name(&self, upstream: usize) -> Option<&Arc<str>> {
        self.state.upstreams.get(upstream).map(|upstream| &upstream.plan.name)
    }

    /// What has happened since the last call that an operator is stated of.
    pub fn take_events(&mut self) -> Vec<Event> {
        mem::take(&mut self.state.events)
    }

    /// What a run does next: at its start, after [`RouteRequest::fail`], and after a pause. `random` is in 0..1.
    pub fn pick(&mut self, now: Instant, random: f64, request: &mut RouteRequest) -> Pick {
        self.give_up(request);
        let pick = self.decide(now, random, request);
        // A run that pauses before it asks a target again keeps its place there.
        if let (Pick::Wait { .. }, Some(again)) = (&pick, &request.again) {
            request.place = self.state.keep_place(again.0);
        }
        pick
    }

    fn decide(&mut self, now: Instant, random: f64, request: &mut RouteRequest) -> Pick {
        self.origin.get_or_insert(now);
        let Some(model) = self.model_of(request) else {
            return Pick::End(RunError::new(RunErrorKind::ModelNotFound, "no upstream has the model"));
        };
        if request.continues && !model.candidates.iter().any(|candidate| candidate.continues) {
            // The model was offered by other upstreams before.
            let detail = "no upstream goes on with an answer of the model";
            return Pick::End(RunError::new(RunErrorKind::NotAvailable, detail));
        }
        if !mem::replace(&mut request.has_begun, true)
            && let Some(first) = model.candidates.first()
        {
            self.budget(first.target).deposit();
        }
        if let Some(failed) = request.failed.take() {
            return self.after_failure(now, random, request, &model, *failed);
        }
        if let Some((target, error)) = request.again.take().map(|again| *again) {
            if !request.has_time(now, Duration::ZERO) {
                return Pick::End(error);
            }
            return match self.go_again(now, random, request, &model, target, None) {
                Some(go) => Pick::Go(go),
                None if self.state.is_full(target) && model.alone => Pick::End(error),
                None if model.alone => Pick::End(self.is_down(now, target, request)),
                None => self.elsewhere(now, random, request, &model, Among::All).unwrap_or(Pick::End(error)),
            };
        }
        if model.alone {
            return self.start_alone(now, random, request, &model);
        }
        let go = self.elsewhere(now, random, request, &model, Among::All);
        go.unwrap_or_else(|| self.none_usable(now, random, request, &model))
    }

    /// Records the result of an attempt: an answer has begun, or what its failure is attributed to. May be called twice for one
    /// permit: when the first text arrives, and at the end. `random` is in 0..1.
    pub fn record(&mut self, now: Instant, random: f64, permit: Permit, result: Result<(), Blame>) {
        match result {
            Ok(()) => self.state.answered(now, permit),
            Err(blame) => self.state.failed(now, random, permit, blame, true),
        }
    }

    /// Gives the place of an attempt back, when its response has ended or was dropped.
    pub fn release(&mut self, permit: Permit) {
        self.state.release(permit);
    }

    /// Has the conversation stay with the target of a run that ended well.
    pub fn remember(&self, now: Instant, request: &mut RouteRequest, target: &Target) {
        let Some(target) = self.state.find(target.upstream, &target.model) else { return };
        self.note(now, request, target, true);
    }

    fn note(&self, now: Instant, request: &mut RouteRequest, target: usize, is_good: bool) {
        let number = u32::try_from(target + 1).unwrap_or_default();
        let affinity = &mut request.affinity;
        if is_good {
            (affinity.stick, affinity.avoid) = (number, 0);
        } else {
            (affinity.avoid, affinity.avoided_at) = (number, self.milliseconds(now));
        }
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        let since = self.origin.map_or(Duration::ZERO, |origin| now.saturating_duration_since(origin));
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// The target at which the conversation's last run failed, for as long as it is passed over.
    fn avoided(&self, now: Instant, request: &RouteRequest) -> Option<usize> {
        let since = Duration::from_millis(self.milliseconds(now).saturating_sub(request.affinity.avoided_at));
        let avoided = (request.affinity.avoid as usize).checked_sub(1);
        avoided.filter(|_| since < self.breaker.open_time)
    }

    fn model_of(&self, request: &mut RouteRequest) -> Option<Arc<ModelTargets>> {
        if request.model.is_none() {
            request.model = Some(Arc::clone(&self.models[self.plan.find(&request.name)?]));
        }
        request.model.clone()
    }

    fn budget(&mut self, target: usize) -> &mut retry::RetryBudget {
        let upstream = self.state.targets[target].upstream;
        &mut self.state.upstreams[upstream].budget
    }

    fn is_down(&self, now: Instant, target: usize, request: &RouteRequest) -> RunError {
        is_down(self.state.broken_for(now, target, request.asker.client).unwrap_or_default())
    }

    /// An attempt at this target; `None` if it is full or a breaker is open.
    fn go(
        &mut self,
        now: Instant,
        random: f64,
        request: &mut RouteRequest,
        model: &ModelTargets,
        target: usize,
        repeats: Option<LostConnection>,
    ) -> Option<Go> {
        if self.state.is_full(target) {
            return None;
        }
        let key = self.state.choose_key(now, &mut Dice::new(random), target, request.spent_key.take());
        let permit = self.state.admit(now, target, key, request.asker)?;
        request.attempts = request.attempts.saturating_add(1);
        let is_other_left = !model.alone
            && request.attempts < self.limits.attempts
            && model
                .candidates
                .iter()
                .any(|other| other.target != target && self.state.obstacle(now, request, other).is_none());
        let candidate = model.of(target);
        let times = candidate.map_or(plan::Times::UNLIMITED, |candidate| candidate.times);
        let may_restart = is_other_left
            && !request.continues
            && self.limits.mid_answer != MidAnswer::Off
            && !request.has_restarted;
        let goes_on = |from, to| self.state.goes_on(model, from, to);
        let keeps_text = self.limits.mid_answer == MidAnswer::Continue
            && !request.has_restarted
            && model.candidates.iter().any(|other| goes_on(target, other.target));
        request.is_continuing = request.broken.is_some_and(|broken| goes_on(broken, target));
        let state = &self.state.targets[target];
        Some(Go {
            target: Target { upstream: state.upstream, model: Arc::clone(&state.model) },
            upstream: Arc::clone(&self.state.upstream(target).plan.name),
            table: model.table_of(target),
            model: candidate
                .map_or_else(|| Arc::clone(&request.name), |candidate| Arc::clone(&candidate.model)),
            key: Key(key),
            permit,
            repeats,
            first_token: if is_other_left { times.first_token } else { times.first_token_last },
            text: if may_restart { times.text } else { times.text_last },
            continues: request.is_continuing,
            keeps_text,
        })
    }

    /// Another attempt at a target; `None` also if other runs have found meanwhile that all its keys are refused.
    fn go_again(
        &mut self,
        now: Instant,
        random: f64,
        request: &mut RouteRequest,
        model: &ModelTargets,
        target: usize,
        repeats: Option<LostConnection>,
    ) -> Option<Go> {
        let is_out = matches!(self.state.keys_obstacle(now, target), Some(Obstacle::Out(_)));
        if is_out && !model.alone { None } else { self.go(now, random, request, model, target, repeats) }
    }

    /// An attempt at the best of the targets that have not failed this run.
    fn elsewhere(
        &mut self,
        now: Instant,
        random: f64,
        request: &mut RouteRequest,
        model: &ModelTargets,
        among: Among,
    ) -> Option<Pick> {
        let mut dice = Dice::new(random);
        let avoid = self.avoided(now, request);
        let mut choose = |avoid| self.state.choose(now, &mut dice, request, model, among, avoid);
        let target = choose(avoid).or_else(|| avoid.and_then(|_| choose(None)))?;
        self.go(now, random, request, model, target, None).map(Pick::Go)
    }

    /// The first attempt of a run that has one target: nothing but a breaker keeps it from being asked.
    fn start_alone(
        &mut self,
        now: Instant,
        random: f64,
        request: &mut RouteRequest,
        model: &ModelTargets,
    ) -> Pick {
        let Some(target) = model.candidates.first().map(|candidate| candidate.target) else {
            return Pick::End(RunError::new(RunErrorKind::ModelNotFound, "the model has no target"));
        };
        match self.go(now, random, request, model, target, None) {
            Some(go) => Pick::Go(go),
            None if self.state.is_full(target) => Pick::Full,
            None => Pick::End(self.is_down(now, target, request)),
        }
    }

    /// No target can be asked now: what to wait for, or why the run is refused.
    fn none_usable(
        &mut self,
        now: Instant,
        random: f64,
        request: &mut RouteRequest,
        model: &ModelTargets,
    ) -> Pick {
        let (mut unasked, mut first) =
            (None::<(Instant, usize)>, None::<(Instant, RunErrorKind, Option<usize>)>);
        for candidate in &model.candidates {
            let (until, kind, waits_for) = match self.state.obstacle(now, request, candidate) {
                Some(Obstacle::Full) => return Pick::Full,
                Some(Obstacle::Cooling { until, stated: false }) => {
                    if unasked.is_none_or(|(earliest, _)| until < earliest) {
                        unasked = Some((until, candidate.target));
                    }
                    continue;
                }
                Some(Obstacle::Cooling { until, stated: true }) => {
                    (until, RunErrorKind::RateLimited, Some(candidate.target))
                }
                Some(Obstacle::Open(wait)) => (now + wait, RunErrorKind::UpstreamDown, None),
                Some(Obstacle::Out(out)) => (out.until, out.kind, None),
                Some(Obstacle::Unable | Obstacle::Tried) | None => continue,
            };
            if first.is_none_or(|(earliest, ..)| until < earliest) {
                first = Some((until, kind, waits_for));
            }
        }
        // No time was stated how long: it is asked.
        if let Some((_, target)) = unasked
            && let Some(go) = self.go(now, random, request, model, target, None)
        {
            return Pick::Go(go);
        }
        let Some((until, kind, waits_for)) = first else {
            let detail = "the prompt is longer than the context of every target";
            return Pick::End(RunError::new(RunErrorKind::InputTooLong, detail));
        };
        let after = until.saturating_duration_since(now);
        let may_wait = after <= self.limits.wait && request.has_time(now, after);
        if let Some(target) = waits_for
            && may_wait
            && !mem::replace(&mut request.has_waited, true)
        {
            request.place = self.state.keep_place(target);
            return Pick::Wait { after, error: None };
        }
        Pick::End(RunError::wait(kind, after, "no target can be asked"))
    }
}

fn is_down(after: Duration) -> RunError {
    RunError::wait(RunErrorKind::UpstreamDown, after, "the breaker is open")
}

#[cfg(test)]
mod tests;
