//! What the route knows of upstreams, keys and targets: how many runs each has, and what was stated of it.
use super::{
    first_tokens::FirstTokens,
    judge::{Blame, FULL, LOADING, RATE},
    plan::{KeysLimited, RoutePlan, UpstreamPlan},
    retry::RetryBudget,
};
use crate::{
    chat::{FairShareKey, RunErrorKind},
    upstream::breaker::{self, Asker, AttemptResult, Breaker, BreakerPermit, OVERDUE},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a refused key, or a model that is unknown there, is not asked. Doubles while it is refused.
pub(super) const REFUSED: Duration = Duration::from_secs(5 * 60);
pub(super) const REFUSED_MAX: Duration = Duration::from_secs(60 * 60);
const UNKNOWN_MODEL: Duration = Duration::from_secs(60);
/// The longest pause after a rate limit without a time.
const RATE_MAX: Duration = Duration::from_secs(60);
/// The longest pause for a target that has no room.
const FULL_MAX: Duration = Duration::from_secs(10);

/// The last failure of an upstream that is blamed on it, its keys or its models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastError {
    pub(super) kind: RunErrorKind,
    pub(super) at: Instant,
}

/// An upstream and its connection breaker: failures that no message provokes.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) plan: UpstreamPlan,
    pub(super) running: usize,
    /// Places that are kept for attempts to come.
    pub(super) kept: usize,
    pub(super) breaker: Breaker,
    /// Of repeated requests there. Moves to another target are not counted: an outage makes each run move once.
    pub(super) budget: RetryBudget,
    pub(super) keys: Vec<KeyState>,
    pub(super) last_error: Option<LastError>,
    pub(super) first_tokens: FirstTokens,
    /// Since when it is being probed.
    pub(super) probing: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyState {
    pub(super) running: usize,
    pub(super) out: Option<Out>,
}

/// A model at an upstream and its model breaker: failures of requests that were sent.
#[derive(Debug)]
pub(super) struct TargetState {
    pub(super) upstream: usize,
    pub(super) model: Arc<str>,
    pub(super) running: usize,
    pub(super) cooling: Cooling,
    pub(super) out: Option<Out>,
    pub(super) breaker: Breaker,
    /// By key; empty while nothing was stated of any.
    pub(super) pairs: Vec<Pair>,
}

/// A key at a target.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pair {
    pub(super) cooling: Cooling,
    pub(super) out: Option<Out>,
    /// Refused since the key's last answer.
    is_refused: bool,
}

/// Refused until a time, and then asked again by one run or probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    pub(super) until: Instant,
    time: Duration,
    pub(super) kind: RunErrorKind,
    /// A probe decides whether a run asks again, and has not yet.
    awaits_probe: bool,
}

/// How long a key is not probed again whose probe came to nothing.
const UNANSWERED: Duration = Duration::from_secs(30);

impl Out {
    /// Only the request that asks again makes the time longer: others were sent before the refusal was known.
    fn refused(old: Option<Out>, now: Instant, kind: RunErrorKind, asks_again: bool) -> Out {
        let time = match old {
            Some(old) if !asks_again => return old,
            Some(old) => (old.time * 2).min(REFUSED_MAX),
            None => REFUSED,
        };
        Out { until: now + time, time, kind, awaits_probe: false }
    }

    /// The same, of a key that is probed before a run asks again.
    fn probed(self, awaits_probe: bool) -> Out {
        Out { awaits_probe, ..self }
    }

    /// One run asks again: for as long, no other does.
    fn asked(&mut self, now: Instant) {
        self.until = now + self.time;
    }

    /// When a probe is to be asked.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        self.awaits_probe.then_some(self.until)
    }

    /// The probe accepted it: a run asks again.
    pub(super) fn accepted(&mut self, now: Instant) {
        (self.until, self.awaits_probe) = (now, false);
    }

    /// The probe refused it.
    pub(super) fn refused_again(&mut self, now: Instant) {
        *self = Out::refused(Some(*self), now, self.kind, true).probed(true);
    }

    /// The probe came to nothing, which changes nothing.
    pub(super) fn unanswered(&mut self, now: Instant) {
        self.until = now + self.time.min(UNANSWERED);
    }

    pub(super) fn holds(&self, now: Instant) -> bool {
        let longer = if self.awaits_probe { OVERDUE } else { Duration::ZERO };
        now < self.until + longer
    }
}

/// Not asked before a time. The time never moves back, except by an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cooling {
    free_at: Option<Instant>,
    /// The service stated the time.
    stated: bool,
    steps: u32,
    /// When the last step was taken: failures of requests sent before it take none.
    since: Option<Instant>,
}

impl Cooling {
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.free_at.filter(|free_at| now < *free_at)
    }

    pub(super) fn is_stated(&self) -> bool {
        self.stated
    }

    fn extend(&mut self, free_at: Instant, stated: bool) {
        if self.free_at.is_none_or(|old| old < free_at) {
            (self.free_at, self.stated) = (Some(free_at), stated);
        }
    }

    /// Not stated for how long: `first`, doubling up to `most`.
    fn step(&mut self, now: Instant, began: Instant, first: Duration, most: Duration) {
        if self.since.is_some_and(|since| began < since) {
            return;
        }
        let pause = first.saturating_mul(2_u32.saturating_pow(self.steps)).min(most);
        (self.steps, self.since) = (self.steps.saturating_add(1).min(16), Some(now));
        self.extend(now + pause, false);
    }
}

/// The right to one attempt. Its result is recorded, and its place given back, both also when it is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    pub(super) target: usize,
    pub(super) key: usize,
    connection: BreakerPermit,
    model: BreakerPermit,
    began: Instant,
    /// It asks a key or a pair again that was out.
    asks_again: bool,
}

/// The right to one attempt at an upstream that limits its runs, before it is known at which target and with which key. It is
/// given to [`RouteRequest::with_place`](super::RouteRequest::with_place) or given back.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Place {
    upstream: usize,
}

/// Whether a key may be used for a target.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyFit {
    Ready,
    /// It was out, and its time is over: one run asks again.
    AskAgain,
    Cooling(Instant, bool),
    Out(Out),
}

/// What an operator is stated of at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A breaker has changed its state.
    Breaker,
    /// A key is refused for all models.
    KeyOut { upstream: usize, key: usize, kind: RunErrorKind },
    /// A key has no rights to a model.
    PairOut { upstream: usize, key: usize, model: Arc<str>, kind: RunErrorKind },
    /// The upstream does not know a model.
    ModelOut { upstream: usize, model: Arc<str> },
}

#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) upstreams: Vec<Upstream>,
    pub(super) targets: Vec<TargetState>,
    /// Since they were last taken.
    pub(super) events: Vec<Event>,
    /// Something has changed since it was last taken for which a waiting run may now be started.
    pub(super) has_room: bool,
}

impl Known {
    /// Adds what a plan names and is not known yet. What is known keeps its state.
    pub(super) fn adopt(&mut self, plan: &RoutePlan, settings: breaker::Settings, budget_percent: u32) {
        let is_sole = plan.models.len() == 1 && plan.models[0].is_alone();
        let breaker = |seed, upstream: usize| {
            let breaker = if is_sole { Breaker::new(settings) } else { Breaker::patient(settings, seed) };
            if plan.upstreams[upstream].probed.service { breaker.probed() } else { breaker }
        };
        for (number, upstream) in plan.upstreams.iter().enumerate().skip(self.upstreams.len()) {
            self.upstreams.push(Upstream {
                plan: upstream.clone(),
                running: 0,
                kept: 0,
                breaker: breaker(number as u64, number),
                budget: RetryBudget::new(budget_percent),
                keys: vec![KeyState::default(); upstream.keys.max(1)],
                last_error: None,
                first_tokens: FirstTokens::default(),
                probing: None,
            });
        }
        for target in plan.models.iter().flat_map(|model| model.levels.iter().flatten()) {
            if self.find(target.upstream, &target.model).is_none() {
                self.targets.push(TargetState {
                    upstream: target.upstream,
                    model: Arc::clone(&target.model),
                    running: 0,
                    cooling: Cooling::default(),
                    out: None,
                    breaker: breaker(self.targets.len() as u64, target.upstream),
                    pairs: Vec::new(),
                });
            }
        }
    }

    pub(super) fn find(&self, upstream: usize, model: &str) -> Option<usize> {
        self.targets.iter().position(|known| known.upstream == upstream && *known.model == *model)
    }

    pub(super) fn upstream(&self, target: usize) -> &Upstream {
        &self.upstreams[self.targets[target].upstream]
    }

    /// How long the breakers of a target keep requests of this client back.
    pub(super) fn broken_for(&self, now: Instant, target: usize, client: FairShareKey) -> Option<Duration> {
        let connection = self.upstream(target).breaker.wait_for(now, client);
        connection.max(self.targets[target].breaker.wait_for(now, client))
    }

    pub(super) fn is_full(&self, target: usize) -> bool {
        let upstream = self.upstream(target);
        upstream.plan.runs_max > 0 && upstream.running + upstream.kept >= upstream.plan.runs_max
    }

    /// Keeps a place at the upstream of this target for an attempt to come; `None` if it is full, or limits no runs.
    pub(super) fn keep_place(&mut self, target: usize) -> Option<Place> {
        let (is_full, upstream) = (self.is_full(target), self.targets[target].upstream);
        let state = &mut self.upstreams[upstream];
        if is_full || state.plan.runs_max == 0 {
            return None;
        }
        state.kept += 1;
        Some(Place { upstream })
    }

    pub(super) fn give_back(&mut self, place: Place) {
        let upstream = &mut self.upstreams[place.upstream];
        upstream.kept = upstream.kept.saturating_sub(1);
        self.has_room = true;
    }

    pub(super) fn key_fit(&self, now: Instant, target: usize, key: usize) -> KeyFit {
        let pair = self.targets[target].pairs.get(key).copied().unwrap_or_default();
        let out = [self.upstream(target).keys[key].out, pair.out].into_iter().flatten();
        let (mut holds, mut is_out) = (None::<Out>, false);
        for out in out {
            is_out = true;
            if out.holds(now) && holds.is_none_or(|other| other.until < out.until) {
                holds = Some(out);
            }
        }
        match (holds, pair.cooling.until(now)) {
            (Some(out), _) => KeyFit::Out(out),
            (None, Some(until)) => KeyFit::Cooling(until, pair.cooling.is_stated()),
            (None, None) if is_out => KeyFit::AskAgain,
            (None, None) => KeyFit::Ready,
        }
    }

    /// Takes a place for an attempt; `None` if a breaker is open.
    pub(super) fn admit(&mut self, now: Instant, target: usize, key: usize, asker: Asker) -> Option<Permit> {
        if self.broken_for(now, target, asker.client).is_some() {
            return None;
        }
        let state = &mut self.targets[target];
        let upstream = &mut self.upstreams[state.upstream];
        let before = (upstream.breaker.state(), state.breaker.state());
        let connection = upstream.breaker.admit(now, asker).ok()?;
        let model = state.breaker.admit(now, asker).ok()?;
        if before != (upstream.breaker.state(), state.breaker.state()) {
            self.events.push(Event::Breaker);
            self.has_room = true;
        }
        (upstream.running, state.running) = (upstream.running + 1, state.running + 1);
        upstream.keys[key].running += 1;
        let mut asks_again = false;
        let pair = state.pairs.get_mut(key).and_then(|pair| pair.out.as_mut());
        for out in [upstream.keys[key].out.as_mut(), pair].into_iter().flatten() {
            asks_again = true;
            out.asked(now);
        }
        Some(Permit { target, key, connection, model, began: now, asks_again })
    }

    /// Gives the place of an attempt back.
    pub(super) fn release(&mut self, permit: Permit) {
        let target = &mut self.targets[permit.target];
        let upstream = &mut self.upstreams[target.upstream];
        target.running = target.running.saturating_sub(1);
        upstream.running = upstream.running.saturating_sub(1);
        let key = &mut upstream.keys[permit.key];
        key.running = key.running.saturating_sub(1);
        self.has_room |= upstream.plan.runs_max > 0;
    }

    /// An answer has begun: whatever was stated of the target and the key is over.
    pub(super) fn answered(&mut self, now: Instant, permit: Permit) {
        self.report(now, permit, (AttemptResult::Answered, AttemptResult::Answered));
        let Permit { target, key, .. } = permit;
        let upstream = self.targets[target].upstream;
        let state = &mut self.targets[target];
        self.has_room |= state.out.is_some() || state.cooling.free_at.is_some() || !state.pairs.is_empty();
        (state.cooling, state.out) = (Cooling::default(), None);
        if let Some(pair) = state.pairs.get_mut(key) {
            *pair = Pair::default();
        }
        let known = &mut self.upstreams[upstream];
        known.keys[key].out = None;
        known.first_tokens.add(now.saturating_duration_since(permit.began));
        for other in self.targets.iter_mut().filter(|other| other.upstream == upstream) {
            if let Some(pair) = other.pairs.get_mut(key) {
                pair.is_refused = false;
            }
        }
    }

    fn report(&mut self, now: Instant, permit: Permit, (connection, model): (AttemptResult, AttemptResult)) {
        let target = &mut self.targets[permit.target];
        let upstream = &mut self.upstreams[target.upstream];
        let before = (upstream.breaker.state(), target.breaker.state());
        upstream.breaker.report(now, permit.connection, connection);
        target.breaker.report(now, permit.model, model);
        if before != (upstream.breaker.state(), target.breaker.state()) {
            self.events.push(Event::Breaker);
            self.has_room = true;
        }
    }

    /// The attempt does not count.
    pub(super) fn excused(&mut self, now: Instant, permit: Permit) {
        self.report(now, permit, (AttemptResult::Unknown, AttemptResult::Unknown));
    }

    /// An attempt is over without an answer. `random` is in 0..1; `alone`: its run could not have moved.
    pub(super) fn failed(&mut self, now: Instant, random: f64, permit: Permit, blame: Blame, alone: bool) {
        self.report(now, permit, blame.for_breakers(alone));
        let Permit { target, key, began, asks_again, .. } = permit;
        match blame {
            Blame::Key => self.refuse_key(now, target, key, RunErrorKind::NotSetUp, asks_again),
            Blame::Pair(kind) => self.refuse_pair(now, target, key, kind, asks_again),
            Blame::Account => {
                for key in self.keys_with(target, key) {
                    self.refuse_key(now, target, key, RunErrorKind::NotAvailable, asks_again);
                }
            }
            Blame::Rate { after } => {
                for key in self.keys_with(target, key) {
                    let cooling = &mut self.pair(target, key).cooling;
                    match after {
                        Some(after) => cooling.extend(now + after.min(RATE_STATED_MAX), true),
                        None => cooling.step(now, began, RATE, RATE_MAX),
                    }
                }
            }
            Blame::Model => {
                let (until, kind) = (now + UNKNOWN_MODEL, RunErrorKind::ModelNotFound);
                let TargetState { upstream, model, out, .. } = &mut self.targets[target];
                if out.replace(Out { until, time: UNKNOWN_MODEL, kind, awaits_probe: false }).is_none() {
                    let model = Arc::clone(model);
                    self.events.push(Event::ModelOut { upstream: *upstream, model });
                }
            }
            Blame::Loading => self.targets[target].cooling.extend(now + LOADING.mul_f64(1.0 + random), false),
            Blame::Full { .. } => self.targets[target].cooling.step(now, began, FULL, FULL_MAX),
            // It says nothing of the key.
            _ if asks_again => self.ask_again(now, target, key),
            _ => {}
        }
        if let Some(kind) = blame.shown_of_upstream() {
            let upstream = self.targets[target].upstream;
            self.upstreams[upstream].last_error = Some(LastError { kind, at: now });
        }
    }

    /// The keys with the same limits as this one.
    fn keys_with(&self, target: usize, key: usize) -> std::ops::Range<usize> {
        let upstream = self.upstream(target);
        match upstream.plan.keys_limited {
            KeysLimited::Together => 0..upstream.keys.len(),
            KeysLimited::Apart => key..key + 1,
        }
    }

    fn pair(&mut self, target: usize, key: usize) -> &mut Pair {
        let keys = self.upstream(target).keys.len();
        let pairs = &mut self.targets[target].pairs;
        if pairs.is_empty() {
            pairs.resize(keys, Pair::default());
        }
        &mut pairs[key]
    }

    fn refuse_key(&mut self, now: Instant, target: usize, key: usize, kind: RunErrorKind, asks_again: bool) {
        let upstream = self.targets[target].upstream;
        let Upstream { plan, keys, .. } = &mut self.upstreams[upstream];
        let out = &mut keys[key].out;
        let refused = Out::refused(*out, now, kind, asks_again).probed(plan.probed.keys);
        if out.replace(refused).is_none() {
            self.events.push(Event::KeyOut { upstream, key, kind });
        }
    }

    /// The key has no rights to the model. It is out itself only when it has none to any model of several.
    fn refuse_pair(&mut self, now: Instant, target: usize, key: usize, kind: RunErrorKind, asks_again: bool) {
        let pair = self.pair(target, key);
        let was_out = pair.out.replace(Out::refused(pair.out, now, kind, asks_again)).is_some();
        pair.is_refused = true;
        let upstream = self.targets[target].upstream;
        if !was_out {
            let model = Arc::clone(&self.targets[target].model);
            self.events.push(Event::PairOut { upstream, key, model, kind });
        }
        let mut targets = self.targets.iter().filter(|other| other.upstream == upstream);
        let is_refused = |other: &TargetState| other.pairs.get(key).is_some_and(|pair| pair.is_refused);
        if targets.clone().count() > 1 && targets.all(is_refused) {
            self.refuse_key(now, target, key, kind, asks_again);
        }
    }

    /// The request that was to ask again stated nothing: the next one asks.
    fn ask_again(&mut self, now: Instant, target: usize, key: usize) {
        let upstream = self.targets[target].upstream;
        let pair = self.targets[target].pairs.get_mut(key).and_then(|pair| pair.out.as_mut());
        for out in [self.upstreams[upstream].keys[key].out.as_mut(), pair].into_iter().flatten() {
            out.until = now;
        }
    }
}

/// The longest time that a service may tell; a longer one is cut to it.
const RATE_STATED_MAX: Duration = Duration::from_secs(24 * 60 * 60);
