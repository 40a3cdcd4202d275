//! A run's request to the route, and the state of its attempts.
use super::{LostConnection, Permit, Place, model::ModelTargets};
use crate::{chat::RunError, upstream::breaker::Asker};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Where a conversation was answered last, and where not: 16 bytes that it keeps from run to run, opaque to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// The target of the last good answer, counted from 1; 0: none.
    pub(super) stick: u32,
    /// The target at which the last run failed, counted from 1; 0: none.
    pub(super) avoid: u32,
    /// When it failed, in milliseconds of the route.
    pub(super) avoided_at: u64,
}

/// What a run asks the route for.
#[derive(Debug)]
pub struct RouteRequest {
    /// The client's name for the model.
    pub(super) name: Arc<str>,
    /// That model, once it was found. Its targets are kept if the model goes away.
    pub(super) model: Option<Arc<ModelTargets>>,
    pub(super) asker: Asker,
    /// When the run must end, including all attempts and pauses.
    pub(super) deadline: Instant,
    /// Estimated tokens of its prompt; 0: unknown.
    pub(super) tokens: u64,
    /// It goes on with the beginning of an answer.
    pub(super) continues: bool,
    pub(super) affinity: Affinity,
    /// Attempts so far, without those that do not count.
    pub(super) attempts: u32,
    /// The failed attempt that the next pick judges.
    pub(super) failed: Option<Box<FailedAttempt>>,
    /// Targets that failed this run, and how often. Empty, without memory, until the first failure.
    pub(super) tried: Vec<Tried>,
    /// A place that is kept for the next attempt.
    pub(super) place: Option<Place>,
    /// After a pause: the target that is asked again, whatever its cooling, and the failure that led to it.
    pub(super) again: Option<Box<(usize, RunError)>>,
    /// Targets that may be asked again only if their context is larger than this.
    pub(super) context_above: Option<u64>,
    /// The next attempt uses another key than this one.
    pub(super) spent_key: Option<usize>,
    /// How often another key has stood in.
    pub(super) key_changes: usize,
    pub(super) has_begun: bool,
    /// It has waited for a target that stated when it is free. This happens at most once per run.
    pub(super) has_waited: bool,
    /// Since when targets have been waited for that load their model.
    pub(super) loading_since: Option<Instant>,
    /// An attempt was not counted because its reused connection was dead. This happens at most once per run.
    pub(super) has_replaced_dead: bool,
    /// An attempt was not counted because the service closed its new connection. This happens at most once per run.
    pub(super) has_excused: bool,
    /// An attempt failed after its text was shown, and another one was to begin the answer anew or to go on
    /// with it. This happens at most once per run.
    pub(super) has_restarted: bool,
    /// The target whose shown text is gone on with by those that can.
    pub(super) broken: Option<usize>,
    /// The current attempt goes on with it.
    pub(super) is_continuing: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    pub(super) target: usize,
    pub(super) failed: u32,
}

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct FailedAttempt {
    pub(super) permit: Permit,
    pub(super) error: RunError,
    pub(super) lost: Option<LostConnection>,
    /// Text of it was shown.
    pub(super) shown: Option<Shown>,
}

/// What was shown of an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Text of an answer, which was kept and can be gone on with.
    Kept,
    /// Something else, such as reasoning, or nothing of it was kept.
    Some,
}

impl RouteRequest {
    pub fn new(model: Arc<str>, asker: Asker, deadline: Instant) -> Self {
        RouteRequest {
            name: model,
            model: None,
            asker,
            deadline,
            tokens: 0,
            continues: false,
            affinity: Affinity::default(),
            attempts: 0,
            failed: None,
            tried: Vec::new(),
            place: None,
            again: None,
            context_above: None,
            spent_key: None,
            key_changes: 0,
            has_begun: false,
            has_waited: false,
            loading_since: None,
            has_replaced_dead: false,
            has_excused: false,
            has_restarted: false,
            broken: None,
            is_continuing: false,
        }
    }

    /// The same, of a conversation that was answered before.
    #[must_use]
    pub fn with_affinity(mut self, affinity: Affinity) -> Self {
        self.affinity = affinity;
        self
    }

    /// The same, for a prompt of about so many tokens.
    #[must_use]
    pub fn with_tokens(mut self, tokens: u64) -> Self {
        self.tokens = tokens;
        self
    }

    /// The same, for a run for which a place is kept. The next pick takes it; a run that ends before gives it back, see
    /// [`Route::give_up`](super::Route::give_up).
    #[must_use]
    pub fn with_place(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// The same, of a run that goes on with the beginning of an answer, or not.
    #[must_use]
    pub fn with_continuation(mut self, continues: bool) -> Self {
        self.continues = continues;
        // What a person has kept is not withdrawn.
        self.has_restarted = continues;
        self
    }

    /// For the conversation's next run.
    pub fn affinity(&self) -> Affinity {
        self.affinity
    }

    /// Attempts so far, including the current one.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The name of its model in the configuration; empty until it was found.
    pub fn table(&self) -> &str {
        self.model.as_ref().and_then(|model| model.tables.first()).map_or("", |table| table)
    }

    /// The current attempt failed before its first text. The next pick judges it, and gives its place back.
    pub fn fail(&mut self, permit: Permit, error: RunError, lost: Option<LostConnection>) {
        self.failed = Some(Box::new(FailedAttempt { permit, error, lost, shown: None }));
    }

    /// The current attempt failed after text of it was shown. The next pick judges it, gives its place back, and decides whether
    /// another attempt goes on with the answer or begins it anew.
    pub fn break_off(&mut self, permit: Permit, error: RunError, shown: Shown) {
        self.failed = Some(Box::new(FailedAttempt { permit, error, lost: None, shown: Some(shown) }));
    }

    /// Whether a place is kept for the next attempt.
    pub fn has_place(&self) -> bool {
        self.place.is_some()
    }

    /// Whether the run has time for a pause.
    pub(super) fn has_time(&self, now: Instant, pause: Duration) -> bool {
        now.checked_add(pause).is_some_and(|end| end < self.deadline)
    }

    /// How often the target has failed this run.
    pub(super) fn failures_at(&self, target: usize) -> u32 {
        self.tried.iter().find(|tried| tried.target == target).map_or(0, |tried| tried.failed)
    }

    /// The target has failed once more; how often now.
    pub(super) fn count_failure(&mut self, target: usize) -> u32 {
        if let Some(tried) = self.tried.iter_mut().find(|tried| tried.target == target) {
            tried.failed = tried.failed.saturating_add(1);
            return tried.failed;
        }
        self.tried.push(Tried { target, failed: 1 });
        1
    }
}
