//! What follows a failed attempt: another key, another target, the same one again, or the end of the run.
use super::{
    LostConnection, MidAnswer, Pick, Route, RouteRequest,
    candidate::Among,
    judge::{After, Again, Blame, judge},
    model::ModelTargets,
    request::FailedAttempt,
    state::{KeyFit, Permit},
};
use crate::chat::RunError;
use std::{
    mem,
    time::{Duration, Instant},
};

impl Route {
    /// Records a failed attempt and decides what its run does next.
    pub(super) fn after_failure(
        &mut self,
        now: Instant,
        random: f64,
        request: &mut RouteRequest,
        model: &ModelTargets,
        FailedAttempt { permit, error, lost, shown }: FailedAttempt,
    ) -> Pick {
        self.state.release(permit);
        if shown {
            return self.after_text(now, random, request, model, (permit, error));
        }
        let target = permit.target;
        let replaces_dead =
            lost == Some(LostConnection::Reused) && !mem::replace(&mut request.has_replaced_dead, true);
        let has_time = request.has_time(now, Duration::ZERO);
        if has_time && (replaces_dead || self.excuses(request, target, lost)) {
            request.attempts = request.attempts.saturating_sub(1);
            self.state.excused(now, permit);
            return match self.go_again(now, random, request, model, target, lost) {
                Some(go) => Pick::Go(go),
                None if model.alone => Pick::End(self.is_down(now, target, request)),
                None => self.elsewhere(now, random, request, model, Among::All).unwrap_or(Pick::End(error)),
            };
        }
        let blame = judge(&error, false, lost.is_some());
        self.state.failed(now, random, permit, blame, model.alone);
        if blame.may_move() {
            self.note(now, request, target, false);
        }
        if blame.is_of_key() && self.has_other_key(now, request, model, permit) {
            (request.spent_key, request.key_changes) = (Some(permit.key), request.key_changes + 1);
            // Its place in the attempts is that of the refused key.
            if model.alone {
                request.attempts = request.attempts.saturating_sub(1);
            }
            if let Some(go) = self.go(now, random, request, model, target, None) {
                return Pick::Go(go);
            }
        }
        if model.alone {
            return self.again_alone(now, random, request, model, (target, blame, error));
        }
        self.move_on(now, random, request, model, (target, blame, error))
    }

    /// Records an attempt that failed after its text was shown, and decides whether another one begins the answer anew.
    fn after_text(
        &mut self,
        now: Instant,
        random: f64,
        request: &mut RouteRequest,
        model: &ModelTargets,
        (permit, error): (Permit, RunError),
    ) -> Pick {
        let target = permit.target;
        // At its deadline the run is over, and long answers take their time: that is no fault.
        let has_stopped = !model.alone && request.has_time(now, Duration::ZERO);
        let blame = judge(&error, !has_stopped, true);
        self.state.failed(now, random, permit, blame, model.alone);
        self.note(now, request, target, false);
        // What was kept of an answer that goes on is never withdrawn.
        let is_off = model.alone || request.continues || self.limits.mid_answer == MidAnswer::Off;
        if is_off || mem::replace(&mut request.has_restarted, true) {
            return Pick::End(error);
        }
        self.move_on(now, random, request, model, (target, blame, error))
    }

    /// Whether another key of the target stands in for the one that failed. Each further key does so once in a run.
    fn has_other_key(
        &self,
        now: Instant,
        request: &RouteRequest,
        model: &ModelTargets,
        permit: Permit,
    ) -> bool {
        let keys = self.state.upstream(permit.target).keys.len();
        let is_usable =
            |key| matches!(self.state.key_fit(now, permit.target, key), KeyFit::Ready | KeyFit::AskAgain);
        (model.alone || request.attempts < self.limits.attempts)
            && request.has_time(now, Duration::ZERO)
            && request.key_changes + 1 < keys
            && (0..keys).any(|key| key != permit.key && is_usable(key))
    }

    /// Whether an attempt that lost its new connection is not counted: only the first attempt of a run, and only if the
    /// retry budget allows it.
    fn excuses(&mut self, request: &mut RouteRequest, target: usize, lost: Option<LostConnection>) -> bool {
        let is_excused = lost.is_some()
            && !request.has_excused
            && request.attempts == 1
            && self.budget(target).withdraw(request.asker.client);
        request.has_excused |= is_excused;
        is_excused
    }

    /// Decides whether the only target is asked again: as `retry.*` says, or until its model is loaded.
    fn again_alone(
        &mut self,
        now: Instant,
        random: f64,
        request: &mut RouteRequest,
        model: &ModelTargets,
        (target, blame, error): (usize, Blame, RunError),
    ) -> Pick {
        if blame == Blame::Loading {
            let Some(again) = blame.again(1, random, self.limits.wait) else { return Pick::End(error) };
            return self.ask_again(now, request, model, (target, again, error)).unwrap_or_else(Pick::End);
        }
        let client = request.asker.client;
        match self.retry.next_pause(request.attempts, &error, random) {
            Some(after)
                if request.has_time(now, after)
                    && self.state.broken_for(now, target, client).is_none()
                    && self.budget(target).withdraw(client) =>
            {
                request.again = Some(Box::new((target, error.clone())));
                Pick::Wait { after, error: Some(error) }
            }
            _ => Pick::End(error),
        }
    }

    /// Where a run goes whose target has failed: to other targets of its model, to its fallbacks, or to the same target again, in
    /// the order that the failure demands.
    fn move_on(
        &mut self,
        now: Instant,
        random: f64,
        request: &mut RouteRequest,
        model: &ModelTargets,
        (target, blame, mut error): (usize, Blame, RunError),
    ) -> Pick {
        let failed = request.count_failure(target);
        if !blame.may_move() || !request.has_time(now, Duration::ZERO) {
            return Pick::End(error);
        }
        let again = blame.again(failed, random, self.limits.wait).filter(|again| {
            again.is_wait || (failed < self.retry.attempts && request.attempts < self.limits.attempts)
        });
        if blame == Blame::TooLong {
            let context = model.of(target).map_or(0, |candidate| candidate.context);
            request.context_above = Some(context.max(request.tokens));
        }
        for after in [After::Nothing, After::Model, After::All] {
            let among = match after {
                After::Nothing => None,
                After::Model => Some(Among::Model),
                After::All => Some(Among::All),
            };
            if request.attempts < self.limits.attempts
                && let Some(go) = among.and_then(|among| self.elsewhere(now, random, request, model, among))
            {
                return go;
            }
            if let Some(again) = again.filter(|again| again.after == after) {
                match self.ask_again(now, request, model, (target, again, error)) {
                    Ok(pick) => return pick,
                    Err(given_back) => error = given_back,
                }
            }
        }
        Pick::End(error)
    }

    /// Has the run ask the same target again, if it has the time and the retry budget has one left; else gives the error back.
    fn ask_again(
        &mut self,
        now: Instant,
        request: &mut RouteRequest,
        model: &ModelTargets,
        (target, again, error): (usize, Again, RunError),
    ) -> Result<Pick, RunError> {
        let client = request.asker.client;
        let is_broken = self.state.broken_for(now, target, client).is_some();
        if is_broken || !request.has_time(now, again.pause) {
            return Err(error);
        }
        if again.is_wait {
            let since = *request.loading_since.get_or_insert(now);
            let longest =
                model.of(target).map_or(Duration::ZERO, |candidate| candidate.times.first_token_last);
            if now.saturating_duration_since(since) + again.pause > longest {
                return Err(error);
            }
            request.attempts = request.attempts.saturating_sub(1);
        } else if !self.budget(target).withdraw(client) {
            return Err(error);
        }
        request.again = Some(Box::new((target, error.clone())));
        Ok(Pick::Wait { after: again.pause, error: Some(error) })
    }
}
