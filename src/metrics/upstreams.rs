//! Metrics of upstreams, their keys and their models. Label values are names of the configuration; of models beyond the
//! first [`MODELS_MAX`] the value is `other`.
use super::{Declare, Registry};
use crate::{
    chat::{Fault, RunErrorKind},
    upstream::{breaker::State, route::Health},
};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Models that have a label value of their own.
const MODELS_MAX: usize = 256;
/// The value of all others.
const OTHER: &str = "other";
/// Series that are exported as 0 from the start; the others begin with their first event.
const SERIES_MAX: usize = 1_000;

/// The outcome of an attempt that is no error.
const ANSWERED: &str = "answered";
const CANCELLED: &str = "cancelled";

type Labels = [(&'static str, String); 2];

pub struct Upstreams {
    errors: Family<Labels, Counter>,
    attempts: Family<Labels, Counter>,
    moves: Family<Labels, Counter>,
    state: Family<Labels, Gauge>,
    target_state: Family<Labels, Gauge>,
    keys: Family<Labels, Gauge>,
    runs: Family<[(&'static str, String); 1], Gauge>,
    models: Mutex<BTreeSet<String>>,
}

impl Upstreams {
    pub(super) fn declare(registry: &mut Registry, names: &[&str]) -> Self {
        let mut of = Declare(registry);
        let upstreams = Upstreams {
            errors: of.one("tidegate_upstream_errors", "Failed attempts, by kind"),
            attempts: of.one("tidegate_attempts", "Attempts that are over, by outcome"),
            moves: of.one(
                "tidegate_moves",
                "Runs that moved to another target before their first text, by the model asked for and the failure",
            ),
            state: of.one(
                "tidegate_upstream_state",
                "1 for the state of the circuit breaker: closed, open or half_open",
            ),
            target_state: of.one(
                "tidegate_target_state",
                "A model at an upstream: 0 ok, 1 cooling, 2 a breaker is not closed, 3 refused or unknown there",
            ),
            keys: of.one("tidegate_keys", "API keys, by state: ok, cooling (rate limited) or out (refused)"),
            runs: of.one("tidegate_upstream_runs", "Attempts under way"),
            models: Mutex::default(),
        };
        let kinds = || RunErrorKind::ALL.into_iter().filter(|kind| kind.fault() != Fault::NotSent);
        let per_upstream = 2 * kinds().count() + 2 + 2 * State::ALL.len() + 1;
        for name in names.iter().take(SERIES_MAX / per_upstream) {
            for kind in kinds() {
                drop(upstreams.errors.get_or_create(&labels(name, ("kind", kind.code()))));
                drop(upstreams.attempts.get_or_create(&labels(name, ("outcome", kind.code()))));
            }
            for outcome in [ANSWERED, CANCELLED] {
                drop(upstreams.attempts.get_or_create(&labels(name, ("outcome", outcome))));
            }
            for state in State::ALL {
                drop(upstreams.state.get_or_create(&labels(name, ("state", state.as_str()))));
            }
            for state in ["ok", "cooling", "out"] {
                drop(upstreams.keys.get_or_create(&labels(name, ("state", state))));
            }
            drop(upstreams.runs.get_or_create(&[("upstream", (*name).to_owned())]));
        }
        upstreams
    }

    /// Counts a failed attempt, or the run that ended with its error.
    pub fn failed(&self, upstream: &str, kind: RunErrorKind) {
        self.errors.get_or_create(&labels(upstream, ("kind", kind.code()))).inc();
    }

    /// How many failures of this kind were counted.
    pub fn failures(&self, upstream: &str, kind: RunErrorKind) -> u64 {
        self.errors.get(&labels(upstream, ("kind", kind.code()))).map_or(0, |counter| counter.get())
    }

    /// Counts an attempt that is over: with an error, answered, or cancelled.
    pub fn attempted(&self, upstream: &str, error: Option<RunErrorKind>, is_answered: bool) {
        let ended = if is_answered { ANSWERED } else { CANCELLED };
        let outcome = error.map_or(ended, RunErrorKind::code);
        self.attempts.get_or_create(&labels(upstream, ("outcome", outcome))).inc();
    }

    /// Counts a move of a run that asked for this model, after an attempt failed with this kind.
    pub fn moved(&self, model: &str, kind: RunErrorKind) {
        let labels = [("model", self.model(model)), ("kind", kind.code().to_owned())];
        self.moves.get_or_create(&labels).inc();
    }

    /// Sets what is a state and no count.
    pub fn publish(&self, health: &Health) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for upstream in &health.upstreams {
            for state in State::ALL {
                let gauge = self.state.get_or_create(&labels(&upstream.name, ("state", state.as_str())));
                gauge.set(i64::from(state == upstream.state));
            }
            let keys = upstream.keys;
            for (state, keys) in [("ok", keys.ok), ("cooling", keys.cooling), ("out", keys.out)] {
                self.keys.get_or_create(&labels(&upstream.name, ("state", state))).set(count(keys));
            }
            let runs = self.runs.get_or_create(&[("upstream", upstream.name.to_string())]);
            runs.set(count(upstream.running));
        }
        for target in health.models.iter().flat_map(|model| &model.targets) {
            let labels = [("upstream", target.upstream.to_string()), ("model", self.model(&target.model))];
            self.target_state.get_or_create(&labels).set(target.state as i64);
        }
    }

    /// The label value of a model.
    fn model(&self, name: &str) -> String {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if !models.contains(name) {
            if models.len() >= MODELS_MAX {
                return OTHER.to_owned();
            }
            models.insert(name.to_owned());
        }
        name.to_owned()
    }
}

fn labels(upstream: &str, (name, value): (&'static str, &str)) -> Labels {
    [("upstream", upstream.to_owned()), (name, value.to_owned())]
}
