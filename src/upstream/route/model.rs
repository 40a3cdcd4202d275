//! A model with all targets that may answer for it.
use super::{
    plan::{ModelPlan, ModelTimes, RoutePlan, Times},
    state::Known,
};
use std::sync::Arc;

/// A model with all targets that may answer for it, its own first.
#[derive(Debug)]
pub(super) struct ModelTargets {
    pub(super) table: Arc<str>,
    /// By level; the levels of each fallback model follow those before it.
    pub(super) candidates: Vec<Candidate>,
    /// It has one target and no fallback: no other target exists.
    pub(super) alone: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Index into the route's targets.
    pub(super) target: usize,
    pub(super) level: usize,
    pub(super) weight: u32,
    pub(super) is_fallback: bool,
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
        let models = std::iter::once((model, false)).chain(fallbacks.map(|model| (model, true)));
        let levels = models.flat_map(|(model, is_fallback)| {
            model.levels.iter().map(move |level| (model, is_fallback, level))
        });
        for (number, (of, is_fallback, level)) in levels.enumerate() {
            for target in level {
                let Some(index) = state.find(target.upstream, &target.model) else { continue };
                if candidates.iter().any(|known| known.target == index) {
                    continue;
                }
                candidates.push(Candidate {
                    target: index,
                    level: number,
                    weight: target.weight.max(1),
                    is_fallback,
                    context: of.context,
                    times: times(plan.upstreams[target.upstream].times, of.times),
                });
            }
        }
        ModelTargets { table: Arc::clone(&model.table), candidates, alone: model.is_alone() }
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
