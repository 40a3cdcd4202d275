//! The state of upstreams, keys and models, as probes and operators are stated of it.
use super::{
    Route,
    model::{Candidate, ModelTargets},
    state::{KeyFit, LastError, TargetState, Upstream},
};
use crate::{chat::FairShareKey, upstream::breaker};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What an operator may know: names and counts, never a key or an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub upstreams: Vec<UpstreamHealth>,
    pub models: Vec<ModelHealth>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamHealth {
    pub name: Arc<str>,
    /// That of its connection breaker; or, while that is closed, what the model breakers of all its models have in common.
    pub state: breaker::State,
    /// Attempts under way.
    pub running: usize,
    /// 0: no limit.
    pub runs_max: usize,
    pub keys: KeyCounts,
    /// Median of the last 33 times from the start of an attempt to its first text or reasoning; `None` before the
    /// first answer.
    pub first_token_p50: Option<Duration>,
    /// The code of the last failure that was blamed on it, and how long ago that was.
    pub last_error: Option<(&'static str, Duration)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    pub ok: usize,
    /// Rate limited at some of its models.
    pub cooling: usize,
    /// Refused.
    pub out: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelHealth {
    /// What clients ask for.
    pub name: Arc<str>,
    pub state: ModelState,
    /// Its own targets, without those of its fallbacks.
    pub targets: Vec<TargetHealth>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// Every target of its own can be asked.
    Ok,
    /// Some targets can be asked, perhaps only those of a fallback.
    Degraded,
    /// None can be asked.
    Down,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetHealth {
    pub upstream: Arc<str>,
    /// The upstream's own name for the model.
    pub model: Arc<str>,
    pub state: TargetStanding,
    /// When it is asked again, if that is known.
    pub free_in: Option<Duration>,
}

/// Whether a target can be asked. The order is that of the numbers in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetStanding {
    Ok,
    Cooling,
    /// A breaker is open or half open.
    Open,
    /// The model is unknown there, or no key has rights to it.
    Out,
}

impl ModelState {
    pub fn as_str(self) -> &'static str {
        match self {
            ModelState::Ok => "ok",
            ModelState::Degraded => "degraded",
            ModelState::Down => "down",
        }
    }
}

impl TargetStanding {
    pub fn as_str(self) -> &'static str {
        match self {
            TargetStanding::Ok => "ok",
            TargetStanding::Cooling => "cooling",
            TargetStanding::Open => "open",
            TargetStanding::Out => "out",
        }
    }
}

impl Route {
    /// What probes, operators and metrics are stated.
    pub fn health(&self, now: Instant) -> Health {
        let upstreams = (0..self.state.upstreams.len()).map(|number| self.upstream_health(now, number));
        let models = self.plan.models.iter().zip(&self.models);
        Health {
            upstreams: upstreams.collect(),
            models: models.map(|(plan, model)| self.model_health(now, &plan.name, model)).collect(),
        }
    }

    /// What the breakers of an upstream let through.
    pub fn upstream_state(&self, number: usize) -> breaker::State {
        let connection = self.state.upstreams[number].breaker.state();
        let models = self.state.targets.iter().filter(|target| target.upstream == number);
        let models = models.map(|target| target.breaker.state());
        match connection {
            breaker::State::Closed => models.min_by_key(|state| match state {
                breaker::State::Closed => 0,
                breaker::State::HalfOpen => 1,
                breaker::State::Open => 2,
            }),
            _ => None,
        }
        .unwrap_or(connection)
    }

    fn upstream_health(&self, now: Instant, number: usize) -> UpstreamHealth {
        let Upstream { plan, running, keys, last_error, first_tokens, .. } = &self.state.upstreams[number];
        let mut counts = KeyCounts::default();
        for (key, state) in keys.iter().enumerate() {
            let targets = || self.state.targets.iter().filter(|target| target.upstream == number);
            let is_cooling = |target: &TargetState| {
                target.pairs.get(key).is_some_and(|pair| pair.cooling.until(now).is_some())
            };
            let is_out = |target: &TargetState| target.pairs.get(key).is_some_and(|pair| pair.out.is_some());
            if state.out.is_some() || (targets().count() > 0 && targets().all(is_out)) {
                counts.out += 1;
            } else if targets().any(is_cooling) {
                counts.cooling += 1;
            } else {
                counts.ok += 1;
            }
        }
        UpstreamHealth {
            name: Arc::clone(&plan.name),
            state: self.upstream_state(number),
            running: *running,
            runs_max: plan.runs_max,
            keys: counts,
            first_token_p50: first_tokens.median(),
            last_error: last_error
                .map(|LastError { kind, at }| (kind.code(), now.saturating_duration_since(at))),
        }
    }

    fn model_health(&self, now: Instant, name: &Arc<str>, model: &ModelTargets) -> ModelHealth {
        let standing = |candidate: &Candidate| self.standing(now, candidate.target);
        let is_ok = |candidate: &Candidate| standing(candidate).0 == TargetStanding::Ok;
        let own = || model.candidates.iter().filter(|candidate| !candidate.is_fallback);
        let state = if own().all(is_ok) {
            ModelState::Ok
        } else if model.candidates.iter().any(is_ok) {
            ModelState::Degraded
        } else {
            ModelState::Down
        };
        let targets = own().map(|candidate| {
            let (state, free_in) = standing(candidate);
            let target = &self.state.targets[candidate.target];
            let upstream = Arc::clone(&self.state.upstreams[target.upstream].plan.name);
            TargetHealth { upstream, model: Arc::clone(&target.model), state, free_in }
        });
        ModelHealth { name: Arc::clone(name), state, targets: targets.collect() }
    }

    fn standing(&self, now: Instant, target: usize) -> (TargetStanding, Option<Duration>) {
        let state = &self.state.targets[target];
        let in_ = |until: Instant| Some(until.saturating_duration_since(now));
        if let Some(out) = state.out.filter(|out| out.holds(now)) {
            return (TargetStanding::Out, in_(out.until));
        }
        let keys =
            (0..self.state.upstream(target).keys.len()).map(|key| self.state.key_fit(now, target, key));
        let first_out = keys.clone().filter_map(|fit| match fit {
            KeyFit::Out(out) => Some(out.until),
            KeyFit::Ready | KeyFit::AskAgain | KeyFit::Cooling(..) => None,
        });
        if keys.clone().all(|fit| matches!(fit, KeyFit::Out(_))) {
            return (TargetStanding::Out, first_out.min().and_then(in_));
        }
        // None has failed there: any client that is not kept back tells whether it is open.
        let wait = self.state.broken_for(now, target, FairShareKey::default());
        let breakers = [self.state.upstream(target).breaker.state(), state.breaker.state()];
        if breakers.iter().any(|state| *state != breaker::State::Closed) {
            return (TargetStanding::Open, wait);
        }
        let cooling = keys.filter_map(|fit| match fit {
            KeyFit::Cooling(until, _) => Some(until),
            KeyFit::Ready | KeyFit::AskAgain | KeyFit::Out(_) => None,
        });
        let has_key = self.state.keys_obstacle(now, target).is_none();
        let keys_free = if has_key { None } else { cooling.min() };
        match state.cooling.until(now).max(keys_free) {
            Some(until) => (TargetStanding::Cooling, in_(until)),
            None => (TargetStanding::Ok, None),
        }
    }
}
