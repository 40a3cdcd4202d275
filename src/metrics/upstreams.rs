//! Metrics of upstreams, their keys and their models.
use super::{
    Declare, Registry,
    names::{ModelNames, SeriesBudget},
};
use crate::{
    chat::{
        Fault, RunErrorKind,
        price::{Cost, PriceList},
    },
    upstream::{
        breaker::State,
        route::{Health, plan::RoutePlan},
    },
};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use std::sync::{Arc, atomic::AtomicU64};

/// The outcome of an attempt that is no error.
const ANSWERED: &str = "answered";
const CANCELLED: &str = "cancelled";

/// A name, and a value of a closed set.
type Labels = ([(&'static str, Arc<str>); 1], [(&'static str, &'static str); 1]);
/// Two names.
type Names = [(&'static str, Arc<str>); 2];

pub struct Upstreams {
    errors: Family<Labels, Counter>,
    attempts: Family<Labels, Counter>,
    moves: Family<Labels, Counter>,
    state: Family<Labels, Gauge>,
    target_state: Family<Names, Gauge>,
    keys: Family<Labels, Gauge>,
    runs: Family<[(&'static str, Arc<str>); 1], Gauge>,
    costs: Family<Names, Counter<f64, AtomicU64>>,
    /// Empty where there are no prices.
    currency: Arc<str>,
    models: Arc<ModelNames>,
}

impl Upstreams {
    pub(super) fn declare(
        registry: &mut Registry,
        plan: &RoutePlan,
        prices: &PriceList,
        models: &Arc<ModelNames>,
        budget: &mut SeriesBudget,
    ) -> Self {
        let mut of = Declare(registry);
        let upstreams = Upstreams {
            errors: of.one("tidegate_upstream_errors", "Failed attempts, by kind"),
            attempts: of.one("tidegate_attempts", "Attempts that are over, by outcome"),
            moves: of.one(
                "tidegate_moves",
                "Moves of runs to another target, by the model asked for and the failure",
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
            costs: of.one(
                "tidegate_cost",
                "Estimated cost of answers by the prices in the configuration, in the currency, by the model that answered",
            ),
            currency: prices.currency.as_ref().map_or("", |currency| currency.as_str()).into(),
            models: Arc::clone(models),
        };
        for model in prices.models.keys().filter(|_| budget.take(1)) {
            upstreams.cost(model, Cost::default());
        }
        let kinds = || RunErrorKind::ALL.into_iter().filter(|kind| kind.fault() != Fault::NotSent);
        let per_upstream = 2 * kinds().count() + 2 + 2 * State::ALL.len() + 1;
        for name in plan.upstreams.iter().map(|plan| &plan.name).filter(|_| budget.take(per_upstream)) {
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
            drop(upstreams.runs.get_or_create(&[("upstream", Arc::clone(name))]));
        }
        upstreams
    }

    /// Counts a failed attempt, or the run that ended with its error.
    pub fn failed(&self, upstream: &Arc<str>, kind: RunErrorKind) {
        self.errors.get_or_create(&labels(upstream, ("kind", kind.code()))).inc();
    }

    /// How many failures of this kind were counted.
    pub fn failures(&self, upstream: &str, kind: RunErrorKind) -> u64 {
        self.errors.get(&labels(&upstream.into(), ("kind", kind.code()))).map_or(0, |counter| counter.get())
    }

    /// Counts an attempt that is over: with an error, answered, or cancelled.
    pub fn attempted(&self, upstream: &Arc<str>, error: Option<RunErrorKind>, is_answered: bool) {
        let ended = if is_answered { ANSWERED } else { CANCELLED };
        let outcome = error.map_or(ended, RunErrorKind::code);
        self.attempts.get_or_create(&labels(upstream, ("outcome", outcome))).inc();
    }

    /// Counts a move of a run that asked for this model, after an attempt failed with this kind.
    pub fn moved(&self, model: &str, kind: RunErrorKind) {
        let labels = ([("model", self.models.label(model))], [("kind", kind.code())]);
        self.moves.get_or_create(&labels).inc();
    }

    /// Adds the cost of an answer of this model, by its name in the configuration.
    pub fn cost(&self, model: &Arc<str>, cost: Cost) {
        let labels = [("model", Arc::clone(model)), ("currency", Arc::clone(&self.currency))];
        self.costs.get_or_create(&labels).inc_by(cost.billionths() as f64 / 1e9);
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
            let runs = self.runs.get_or_create(&[("upstream", Arc::clone(&upstream.name))]);
            runs.set(count(upstream.running));
        }
        for target in health.models.iter().flat_map(|model| &model.targets) {
            let labels =
                [("upstream", Arc::clone(&target.upstream)), ("model", self.models.label(&target.model))];
            self.target_state.get_or_create(&labels).set(target.state as i64);
        }
    }
}

fn labels(upstream: &Arc<str>, (name, value): (&'static str, &'static str)) -> Labels {
    ([("upstream", Arc::clone(upstream))], [(name, value)])
}
