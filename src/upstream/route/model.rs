//! A model with all targets that may answer for it.
use super::{
    plan::{ModelPlan, ModelTimes, RoutePlan, Times},
    state::Known,
};
use std::sync::Arc;

/// A model with all targets that may answer for it, its own first.
#[derive(Debug)]
pub(super) struct ModelTargets {
    /// The names in the configuration of the models whose targets these are: its own first, then those of its fallbacks.
    pub(super) tables: Vec<Arc<str>>,
    /// By level; the levels of each fallback model follow those before it.
    pub(super) candidates: Vec<Candidate>,
    /// It has one target and no fallback: no other target exists.
    pub(super) alone: bool,
    /// An upstream among its targets limits its runs.
    pub(super) is_limited: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Index into the route's targets.
    pub(super) target: usize,
    pub(super) level: usize,
    pub(super) weight: u32,
    /// Index into [`ModelTargets::tables`].
    pub(super) table: usize,
    pub(super) is_fallback: bool,
    /// It goes on with the beginning of an answer of this model.
    pub(super) continues: bool,
    /// What clients call its model.
    pub(super) model: Arc<str>,
    /// Tokens of its model; 0: unknown.
    pub(super) context: u64,
    pub(super) times: Times,
}

impl ModelPlan {
    /// Whether it has one target and no fallback.
    pub(super) fn is_alone(&self) -> bool {
        self.fallback.is_empty() && self.levels.iter().map(Vec::len).sum::<usize>() <= 1
    }
}

impl ModelTargets {
    pub(super) fn new(plan: &RoutePlan, model: &ModelPlan, state: &Known) -> Self {
        let mut candidates: Vec<Candidate> = Vec::new();
        let fallbacks = model.fallback.iter().filter_map(|number| plan.models.get(*number));
        let models: Vec<_> = std::iter::once(model).chain(fallbacks).collect();
        let levels = models.iter().enumerate();
        let levels = levels.flat_map(|(table, of)| of.levels.iter().map(move |level| (table, *of, level)));
        for (number, (table, of, level)) in levels.enumerate() {
            for target in level {
                let Some(index) = state.find(target.upstream, &target.model) else { continue };
                if candidates.iter().any(|known| known.target == index) {
                    continue;
                }
                candidates.push(Candidate {
                    target: index,
                    level: number,
                    weight: target.weight.max(1),
                    table,
                    is_fallback: table > 0,
                    continues: plan.upstreams[target.upstream].continues && table == 0,
                    model: Arc::clone(&of.name),
                    context: of.context,
                    times: times(plan.upstreams[target.upstream].times, of.times),
                });
            }
        }
        let tables = models.iter().map(|model| Arc::clone(&model.table)).collect();
        let is_limited =
            candidates.iter().any(|candidate| state.upstream(candidate.target).plan.runs_max > 0);
        ModelTargets { tables, candidates, alone: model.is_alone(), is_limited }
    }

    /// The name in the configuration of the model whose target this is.
    pub(super) fn table_of(&self, target: usize) -> Arc<str> {
        let table = self.of(target).map_or(0, |candidate| candidate.table);
        self.tables.get(table).cloned().unwrap_or_default()
    }

    pub(super) fn of(&self, target: usize) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.target == target)
    }
}

fn times(upstream: Times, model: ModelTimes) -> Times {
    Times {
        first_token: model.first_token.unwrap_or(upstream.first_token),
        first_token_last: model.first_token_last.unwrap_or(upstream.first_token_last),
        text: model.text.unwrap_or(upstream.text),
        text_last: model.text_last.unwrap_or(upstream.text_last),
    }
}
