//! One run: attempts, the stream, its time limits, and the one end that it always has.
use super::{
    Permit, RunUpdate, SubmitRun,
    attempt::{Attempt, Follows, Outcome},
    recorder::Recorder,
    router::KeptPlace,
    shared::{LaneShared, STREAM_BYTES},
    stream::NOT_TAKEN,
};
use crate::{
    chat::{Fault, Reported, Retry, RunEnd, RunError, RunErrorKind, RunEvent, Usage, seam::Seam},
    mailbox,
    upstream::{
        Outbound,
        breaker::Asker,
        client::OpenError,
        route::{Go, LostConnection, Pick, RouteRequest, Shown, Target},
    },
};
use actix::dev::SendError;
use futures_util::FutureExt;
use std::{
    future::poll_fn, mem, panic::AssertUnwindSafe, pin::pin, rc::Rc, sync::Arc, task::Poll, time::Duration,
};
use tokio::time::{Instant, timeout};

/// Executes a run to its end, or until it is cancelled or the future is dropped. A panic of the run ends the run and not
/// what polls it. In every case the run leaves one record, and the slot is given back.
pub(super) fn execute(
    shared: Rc<LaneShared>,
    submission: SubmitRun,
    permit: Permit,
    place: KeptPlace,
) -> impl Future<Output = ()> + 'static {
    let channel = submission.channel.clone();
    let sink = submission.sink.clone();
    let run = submission.run;
    let driven = AssertUnwindSafe(Run::new(shared, submission, place).drive()).catch_unwind();
    async move {
        let mut driven = pin!(Some(driven));
        let ended = poll_fn(|cx| match (channel.poll_cancelled(cx), driven.as_mut().as_pin_mut()) {
            (false, Some(driven)) => driven.poll(cx).map(Some),
            _ => Poll::Ready(None),
        })
        .await;
        // Drops the response, which closes the upstream's connection.
        driven.set(None);
        if let Some(Err(_panic)) = ended {
            let end = RunEnd::failed(RunError::new(RunErrorKind::Internal, "the run panicked"));
            let _ = sink.send(RunUpdate { run, event: RunEvent::End(Box::new(end)) }).await;
        }
        drop(permit);
    }
}

/// It is boxed, and so are the futures that it awaits rarely: there are thousands of runs that read, so each must touch
/// few cache lines.
struct Run {
    shared: Rc<LaneShared>,
    submission: SubmitRun,
    /// The request for the target of the last attempt; another attempt at this target repeats it.
    outbound: Option<(Target, Outbound)>,
    /// That request goes on with what was shown.
    outbound_continues: bool,
    route: RouteRequest,
    attempt: Option<Attempt>,
    /// The upstream of the last attempt, by its name.
    upstream: Arc<str>,
    /// Why the last attempt failed.
    failed: Option<RunErrorKind>,
    /// An attempt broke off after text was shown, and none has had text since.
    broken: Option<Box<Broken>>,
    deadline: Instant,
    recorder: Recorder,
}

/// An answer that broke off.
struct Broken {
    /// How the run ends unless another attempt has text.
    end: RunEnd,
    /// The session knows that another attempt follows.
    is_announced: bool,
    /// What was shown of it, if another attempt may go on with it.
    shown: Option<String>,
}

impl Drop for Run {
    /// If it is dropped before its end, because of a cancellation or a panic, the current attempt is recorded.
    fn drop(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.close(&self.shared);
            attempt.record(&mut self.recorder, None);
            if let Reported::Totals(Some(usage)) = attempt.reported() {
                self.recorder.late_usage(usage);
            }
        }
        self.shared.router.give_up(&mut self.route);
    }
}

impl Run {
    fn new(shared: Rc<LaneShared>, submission: SubmitRun, place: KeptPlace) -> Box<Self> {
        let started = Instant::now();
        let waited = started.saturating_duration_since(submission.submitted);
        shared.metrics.queue_wait.observe(waited.as_secs_f64());
        let (names, request) =
            ((submission.session, submission.run, submission.codec.name()), &submission.request);
        let recorder = Recorder::new(&shared.sinks, names, request, submission.submitted, waited);
        let deadline = started + shared.settings.run_time;
        let asker = Asker { client: submission.pass.fair_share_key(), session: submission.session };
        let route = RouteRequest::new(Arc::clone(&submission.request.model), asker, deadline.into_std())
            .with_affinity(submission.channel.affinity())
            .with_tokens(submission.request.tokens.prompt.into())
            .with_continuation(submission.request.continues())
            .with_place(place.into_place());
        Box::new(Run {
            shared,
            submission,
            outbound: None,
            outbound_continues: false,
            route,
            attempt: None,
            upstream: Arc::default(),
            failed: None,
            broken: None,
            deadline,
            recorder,
        })
    }

    /// The loop of a run: attempts, each of which is read to its end. What is not reading is boxed.
    async fn drive(mut self: Box<Self>) {
        while Box::pin(self.begin()).await {
            let outcome = self.read().await;
            if !Box::pin(self.settle(outcome)).await {
                return;
            }
        }
    }

    /// Attempts and pauses, as the route decides, until there is a response to read. False if the run has ended.
    async fn begin(&mut self) -> bool {
        loop {
            let go = match self.shared.router.pick(&mut self.route) {
                Pick::Go(go) => go,
                Pick::Wait { after, error } => {
                    if !self.pause(after, error).await {
                        return false;
                    }
                    continue;
                }
                Pick::Full => {
                    let error = RunError::new(RunErrorKind::Overloaded, "no upstream has room");
                    self.fail(error).await;
                    return false;
                }
                Pick::End(error) => {
                    self.fail(error).await;
                    return false;
                }
            };
            self.announce_move();
            self.note_move(&go);
            if let Some(lost) = go.repeats {
                self.recorder.uncount_attempt();
                if lost == LostConnection::Reused {
                    self.shared.metrics.upstream_dead_connections.inc();
                }
            }
            match self.open(go).await {
                Ok(()) => return true,
                Err(OpenError { error, lost }) => self.note_failure(error, lost),
            }
        }
    }

    /// An attempt has been read to its end. False if that is the end of the run.
    async fn settle(&mut self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Ended(end) => {
                if let Some(attempt) = &mut self.attempt {
                    attempt.succeed(&mut self.recorder);
                    self.shared.router.remember(&mut self.route, &attempt.target);
                }
                self.end(*end).await;
                return false;
            }
            Outcome::BrokeOff(end) => self.break_off(*end),
            Outcome::Failed { error, lost } => self.note_failure(error, lost),
        }
        true
    }

    /// The attempt failed before any text: the route decides what follows.
    fn note_failure(&mut self, error: RunError, lost: Option<LostConnection>) {
        let error = self.redacted(error);
        if error.kind == RunErrorKind::BadRequest && error.retry != Retry::No {
            self.outbound = None; // The dialect has learnt to write it differently.
        }
        self.failed = Some(error.kind);
        if let Some(attempt) = self.attempt.take() {
            attempt.record(&mut self.recorder, Some(&error));
            self.route.fail(attempt.into_permit(), error, lost);
        }
    }

    /// Counts and logs an attempt that goes to another target than the one before.
    fn note_move(&mut self, go: &Go) {
        let last = self.outbound.as_ref().map(|(target, _)| target);
        if let (Some(from), Some(kind)) = (last.filter(|last| **last != go.target), self.failed) {
            log::info!(
                session:% = self.submission.session,
                run:% = self.submission.run,
                from:% = format_args!("{}:{}", self.upstream, from.model),
                to:% = format_args!("{}:{}", go.upstream, go.target.model),
                error = kind.code();
                "run moving"
            );
            self.shared.metrics.upstreams.failed(&self.upstream, kind);
            self.shared.metrics.upstreams.moved(self.route.table(), kind);
        }
        self.upstream = Arc::clone(&go.upstream);
    }

    /// The attempt failed after its text was shown. The text stays until another attempt has some.
    fn break_off(&mut self, mut end: RunEnd) {
        end.outcome = end.outcome.map_err(|error| self.redacted(error));
        let Some(error) = end.outcome.as_ref().err() else { return };
        self.failed = Some(error.kind);
        let mut kept = None;
        if let Some(mut attempt) = self.attempt.take() {
            attempt.record(&mut self.recorder, Some(error));
            kept = attempt.take_kept();
            let shown = if kept.is_some() { Shown::Kept } else { Shown::Some };
            self.route.break_off(attempt.into_permit(), error.clone(), shown);
        }
        self.broken = Some(Box::new(Broken { end, is_announced: false, shown: kept }));
    }

    /// Tells the session once that another attempt follows the one that broke off. In order with the text.
    fn announce_move(&mut self) {
        if let Some(broken) = &mut self.broken
            && !mem::replace(&mut broken.is_announced, true)
        {
            self.submission.channel.push(&mut vec![RunEvent::Moving], broken.end.usage);
        }
    }

    /// Waits before the next attempt; false if the session has ended.
    async fn pause(&mut self, after: Duration, error: Option<RunError>) -> bool {
        if let Some(error) = error {
            self.note_retry(after, &error);
        }
        let attempt = self.route.attempts() + 1;
        self.announce_move();
        if self.broken.is_none() && !self.tell(RunEvent::Retrying { attempt, after }).await {
            return false;
        }
        tokio::time::sleep(after).await;
        true
    }

    fn note_retry(&self, after: Duration, error: &RunError) {
        self.note_error(error);
        log::info!(
            session:% = self.submission.session,
            run:% = self.submission.run,
            attempt = self.route.attempts(),
            pause_ms = after.as_millis() as u64,
            error = error.kind.code(),
            status = error.status,
            upstream_code = error.code.as_deref(),
            upstream_request = error.request_id.as_deref(),
            detail = Some(error.detail.as_str()).filter(|detail| !detail.is_empty());
            "run retrying"
        );
        self.shared.metrics.retries.inc();
    }

    /// Sends the request of an attempt and waits for the head of the response.
    async fn open(&mut self, go: Go) -> Result<(), OpenError> {
        let Run { shared, submission, outbound, outbound_continues, broken, .. } = self;
        let shown = broken.as_ref().and_then(|broken| broken.shown.as_deref()).filter(|_| go.continues);
        let is_same = mem::replace(outbound_continues, shown.is_some()) == shown.is_some();
        let (_, outbound) = match outbound.take() {
            Some(made) if made.0 == go.target && is_same => outbound.insert(made),
            _ => {
                let dialect = &shared.upstream(&go.target).shared.dialect;
                let made = match shown {
                    None => dialect.request(&go.target.model, &submission.request),
                    Some(shown) => {
                        dialect.request(&go.target.model, &submission.request.clone().continued(shown))
                    }
                };
                submission.account.set(0, made.body.len() + STREAM_BYTES);
                outbound.insert((go.target.clone(), made))
            }
        };
        let follows = match shown {
            Some(shown) => Follows::Continued(Seam::new(shown)),
            None if broken.is_some() || go.model != submission.request.model => {
                Follows::Withdrawn(Arc::clone(&go.model))
            }
            None => Follows::Nothing,
        };
        let attempt = self.attempt.insert(Attempt::start(shared, go, outbound.body.len(), follows));
        attempt.open(shared, submission, outbound, self.deadline).await
    }

    /// Reads the response to its end. A session that ends cancels the run.
    async fn read(&mut self) -> Outcome {
        poll_fn(|cx| {
            let Run { attempt: Some(attempt), shared, submission, recorder, .. } = &mut *self else {
                unreachable!("an attempt is opened before it is read");
            };
            attempt.poll_read(cx, shared, submission, recorder)
        })
        .await
    }

    /// Sends an event that is not text; false if the session has ended. Waits while its mailbox is full; a session that
    /// accepts nothing for too long gets the end of the run instead.
    async fn tell(&mut self, event: RunEvent) -> bool {
        let update = match self.submission.sink.try_send(RunUpdate { run: self.submission.run, event }) {
            Ok(()) => return true,
            Err(SendError::Closed(_)) => return false,
            Err(SendError::Full(update)) => update,
        };
        if let Ok(sent) = timeout(self.shared.settings.delivery, self.submission.sink.send(update)).await {
            return sent.is_ok();
        }
        let end = RunEnd::failed(RunError::new(RunErrorKind::Overloaded, NOT_TAKEN));
        self.recorder.finish(&end);
        self.recorder.close();
        let event = RunEvent::End(Box::new(end));
        mailbox::notify(&self.submission.sink, RunUpdate { run: self.submission.run, event });
        false
    }

    /// Removes the API key from an error, in case the upstream has repeated it.
    fn redacted(&self, mut error: RunError) -> RunError {
        let texts = [error.code.as_mut(), error.request_id.as_mut(), Some(&mut error.detail)];
        texts.into_iter().flatten().for_each(|text| self.shared.redact(text));
        error
    }

    /// No attempt is left. What was shown stays, with the error that broke it off.
    async fn fail(&mut self, error: RunError) {
        // An error of the gateway itself, before anything was sent, is not counted as an upstream error.
        if error.kind.fault() != Fault::NotSent {
            self.note_error(&error);
        }
        let end = self.broken.take().map_or_else(|| RunEnd::failed(error), |broken| broken.end);
        self.end(end).await;
    }

    async fn end(&mut self, mut end: RunEnd) {
        end.outcome = end.outcome.map_err(|error| self.redacted(error));
        end.request_id.iter_mut().for_each(|id| self.shared.redact(id));
        end.timing = self.recorder.finish(&end);
        // Where usage may still come, the record waits for it.
        if end.usage.is_some() || !self.attempt.as_ref().is_some_and(Attempt::is_open) {
            self.recorder.close();
        }
        if let Some(advice) = end.outcome.as_ref().err().and_then(|error| self.advice(error)) {
            log::warn!("the model service refuses the key: {advice}");
        }
        let usage = end.usage;
        self.submission.channel.set_affinity(self.route.affinity());
        self.tell(RunEvent::End(Box::new(end))).await;
        self.read_tail(usage).await;
    }

    /// Reads the rest of the response after a finished answer, whose end had this usage.
    async fn read_tail(&mut self, reported: Option<Usage>) {
        let Some(attempt) = &mut self.attempt else { return };
        match (attempt.read_tail().await, reported) {
            (Some(usage), None) => self.recorder.late_usage(usage),
            (Some(usage), Some(reported)) => attempt.late_usage(usage.beyond(reported)),
            (None, _) => {}
        }
    }

    /// What the operator may try after this error of the last attempt.
    fn advice(&self, error: &RunError) -> Option<&'static str> {
        let (target, _) = self.outbound.as_ref()?;
        let upstream = &self.shared.upstream(target).shared;
        upstream.dialect.advice(upstream.client.host(), error)
    }

    fn note_error(&self, error: &RunError) {
        if !self.upstream.is_empty() {
            self.shared.metrics.upstreams.failed(&self.upstream, error.kind);
        }
    }
}
