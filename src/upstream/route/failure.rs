//! What follows a failed attempt: another key, another target, the same one again, or the end of the run.
use super::{
    LostConnection, MidAnswer, Pick, Route, RouteRequest,
    candidate::Among,
    judge::{After, Again, Blame, judge},
    model::ModelTargets,
    request::{FailedAttempt, Shown},
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
        if let Some(shown) = shown {
            return self.after_text(now, random, request, model, (permit, error, shown));
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
        if mem::take(&mut request.is_continuing) && blame == Blame::Request {
            return self.after_refusal(now, random, request, model, (target, error));
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
        let failed = request.count_failure(target);
        self.move_on(now, random, request, model, (target, failed, blame), error)
    }

    /// Records an attempt that failed after its text was shown, and decides whether another one goes on with the answer or
    /// begins it anew.
    fn after_text(
        &mut self,
        now: Instant,
        random: f64,
        request: &mut RouteRequest,
        model: &ModelTargets,
        (permit, mut error, shown): (Permit, RunError, Shown),
    ) -> Pick {
        let target = permit.target;
        // At its deadline the run is over, and long answers take their time: that is no fault.
        let has_stopped = !model.alone && request.has_time(now, Duration::ZERO);
        let blame = judge(&error, !has_stopped, true);
        self.state.failed(now, random, permit, blame, model.alone);
        self.note(now, request, target, false);
        let is_off = match self.limits.mid_answer {
            MidAnswer::Restart => model.alone,
            MidAnswer::Continue => false,
            MidAnswer::Off => true,
        };
        // What was kept of an answer that a person had continued is never withdrawn.
        if is_off || request.continues || mem::replace(&mut request.has_restarted, true) {
            return Pick::End(error);
        }
        let failed = request.count_failure(target);
        if shown == Shown::Kept {
            match self.go_on(now, random, request, model, (target, failed, blame), error) {
                Ok(pick) => return pick,
                Err(given_back) => error = given_back,
            }
        }
        if model.alone {
            return Pick::End(error);
        }
        self.move_on(now, random, request, model, (target, failed, blame), error)
    }

    /// Has a target go on with what was shown: another one, else the same, as often as it would be asked again. If none can
    /// now, gives the error back.
    fn go_on(
        &mut self,
        now: Instant,
        random: f64,
        request: &mut RouteRequest,
        model: &ModelTargets,
        (target, failed, blame): (usize, u32, Blame),
        error: RunError,
    ) -> Result<Pick, RunError> {
        let limit = if model.alone { self.retry.attempts } else { self.limits.attempts };
        if !blame.may_move() || !request.has_time(now, Duration::ZERO) || request.attempts >= limit {
            return Err(error);
        }
        request.broken = Some(target);
        if let Some(pick) = self.elsewhere(now, random, request, model, Among::Continuing(target)) {
            return Ok(pick);
        }
        let again = blame.again(failed, random, self.limits.wait);
        let again = again.filter(|again| !again.is_wait && failed < self.retry.attempts);
        let asked = match again.filter(|_| self.state.goes_on(model, target, target)) {
            Some(again) => self.ask_again(now, request, model, (target, again, error)),
            None => Err(error),
        };
        if asked.is_err() {
            request.broken = None;
        }
        asked
    }

    /// A target has refused to go on with what was shown: it begins the answer anew.
    fn after_refusal(
        &mut self,
        now: Instant,
        random: f64,
        request: &mut RouteRequest,
        model: &ModelTargets,
        (target, error): (usize, RunError),
    ) -> Pick {
        request.broken = None;
        let may_ask =
            request.has_time(now, Duration::ZERO) && (model.alone || request.attempts < self.limits.attempts);
        let go = if may_ask { self.go(now, random, request, model, target, None) } else { None };
        go.map_or(Pick::End(error), Pick::Go)
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
        (target, failed, blame): (usize, u32, Blame),
        mut error: RunError,
    ) -> Pick {
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
