//! Whether an upstream has room for a run that is about to be started, and the place that is kept for it.
use super::{Place, Route, RouteRequest, candidate::Obstacle, is_down};
use crate::{
    chat::{FairShareKey, RunError},
    upstream::breaker::Asker,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What a run that is about to be started asks for.
#[derive(Clone, Debug)]
pub struct RoomRequest {
    /// The client's name for the model.
    pub model: Arc<str>,
    pub asker: Asker,
    /// Estimated tokens of its prompt; 0: unknown.
    pub tokens: u64,
    /// It goes on with the beginning of an answer.
    pub continues: bool,
}

/// Whether a run can be started.
#[derive(Debug)]
pub enum Room {
    /// It can. Set: a place at an upstream that limits its runs, so that no other run takes it meanwhile.
    Free(Option<Place>),
    /// Every target that could be asked has as many runs as it may have. `again`: when another target may be usable.
    Full { again: Option<Duration> },
    /// It has no target now: all breakers are open.
    Down(RunError),
}

impl Route {
    /// Whether a run can be started, and keeps a place for it.
    pub fn room(&mut self, now: Instant, ask: &RoomRequest) -> Room {
        if let Some(error) = self.rejection(now, ask.asker.client, &ask.model) {
            return Room::Down(error);
        }
        let model = self.plan.find(&ask.model).map(|model| &self.models[model]);
        let Some(model) = model.filter(|model| model.is_limited).cloned() else { return Room::Free(None) };
        let request = RouteRequest::new(Arc::clone(&ask.model), ask.asker, now)
            .with_tokens(ask.tokens)
            .with_continuation(ask.continues);
        let (mut is_full, mut again) = (false, None::<Instant>);
        for candidate in &model.candidates {
            let obstacle = if model.alone {
                // Nothing else keeps it from being asked.
                self.state.is_full(candidate.target).then_some(Obstacle::Full)
            } else {
                self.state.obstacle(now, &request, candidate)
            };
            let until = match obstacle {
                None => return Room::Free(self.state.keep_place(candidate.target)),
                Some(Obstacle::Full) => {
                    is_full = true;
                    continue;
                }
                Some(Obstacle::Unable | Obstacle::Tried) => continue,
                Some(Obstacle::Cooling { until, .. }) => until,
                Some(Obstacle::Open(wait)) => now + wait,
                Some(Obstacle::Out(out)) => out.until,
            };
            again = Some(again.map_or(until, |earlier| earlier.min(until)));
        }
        if is_full {
            return Room::Full { again: again.map(|again| again.saturating_duration_since(now)) };
        }
        // The pick knows what to wait for.
        Room::Free(None)
    }

    /// Gives a place back that is not used.
    pub fn give_back(&mut self, place: Place) {
        self.state.give_back(place);
    }

    /// The run picks no more: gives back the place that is kept for it, if any.
    pub fn give_up(&mut self, request: &mut RouteRequest) {
        if let Some(place) = request.place.take() {
            self.state.give_back(place);
        }
    }

    /// Whether something has changed since the last call for which a run without room may now be started.
    pub fn take_has_room(&mut self) -> bool {
        std::mem::take(&mut self.state.has_room)
    }

    /// Why no target of the model accepts a request of this client now: all breakers are open. `None` if one does.
    pub fn rejection(&self, now: Instant, client: FairShareKey, model: &str) -> Option<RunError> {
        let model = &self.models[self.plan.find(model)?];
        let waits =
            model.candidates.iter().map(|candidate| self.state.broken_for(now, candidate.target, client));
        let shortest = waits.min_by_key(|wait| wait.unwrap_or_default()).flatten();
        shortest.map(is_down)
    }
}
