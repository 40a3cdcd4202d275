//! The task of one run: attempts, the stream, its time limits, and the one end that it always has.
use super::{
    Order, Permit, RunUpdate,
    breaker::Ticket,
    meter::Meter,
    recorder::Recorder,
    shared::{STREAM_BYTES, Shared},
    stream::{NOT_TAKEN, Step, Stream},
};
use crate::{
    chat::{RunEnd, RunError, RunErrorKind, RunEvent, Timing, Usage},
    metrics::Metrics,
    upstream::{
        breaker::{Asker, Verdict},
        client::{Lost, OpenError},
        dashscope::{self, Reader},
    },
};
use actix::dev::SendError;
use bytes::Bytes;
use futures_util::FutureExt;
use std::{
    future::poll_fn,
    mem,
    panic::AssertUnwindSafe,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// Executes a run to its end, or drops it as soon as it is cancelled.
pub(super) async fn execute(shared: Rc<Shared>, order: Order, permit: Permit) {
    let control = order.control.clone();
    let sink = order.sink.clone();
    let run = order.run;
    shared.budget.deposit();
    let mut task = pin!(Some(AssertUnwindSafe(Run::new(shared, order).drive()).catch_unwind()));
    let ended = poll_fn(|cx| match (control.poll_cancelled(cx), task.as_mut().as_pin_mut()) {
        (false, Some(task)) => task.poll(cx).map(Some),
        _ => Poll::Ready(None),
    })
    .await;
    // Dropping the task drops the response, which closes the upstream's connection.
    task.set(None);
    if let Some(Err(_panic)) = ended {
        let end = RunEnd::failed(RunError::new(RunErrorKind::Internal, "the run panicked"));
        let _ = sink.send(RunUpdate { run, event: RunEvent::End(Box::new(end)) }).await;
    }
    drop(permit);
}

/// Why an attempt is over.
enum Attempt {
    /// The run is over, well or badly. The response may still be open behind a finished answer.
    Ended(Box<RunEnd>),
    /// It failed before anything was shown, so that another attempt may follow.
    Failed { error: RunError, lost: Option<Lost> },
}

/// In a box, and with a box for each future that it awaits now and then: what it is while it reads is
/// in memory thousands of times, and few lines of a cache.
struct Run {
    shared: Rc<Shared>,
    order: Order,
    body: Bytes,
    /// The response that is read.
    stream: Option<Stream>,
    deadline: Instant,
    /// Requests so far that count as attempts.
    attempts: u32,
    recorder: Recorder,
    /// The breaker's leave for the attempt under way.
    ticket: Option<Ticket>,
    meter: Option<Meter>,
}

impl Drop for Run {
    /// Before its end: cancelled, or a panic.
    fn drop(&mut self) {
        self.end_attempt(); // What it has used is counted.
        self.record_attempt(None, true);
    }
}

impl Run {
    fn new(shared: Rc<Shared>, mut order: Order) -> Box<Self> {
        let started = Instant::now();
        let waited = started.saturating_duration_since(order.submitted);
        shared.metrics.queue_wait.observe(waited.as_secs_f64());
        let recorder = Recorder::new(&shared.sinks, (order.session, order.run), order.submitted, waited);
        let body = dashscope::body(&shared.settings.dialect, &order.request);
        order.account.set(0, body.capacity() + STREAM_BYTES);
        let deadline = started + shared.settings.run_time;
        Box::new(Run {
            shared,
            order,
            body: body.into(),
            stream: None,
            deadline,
            attempts: 0,
            recorder,
            ticket: None,
            meter: None,
        })
    }

    async fn drive(mut self: Box<Self>) {
        let (mut excused, mut forgiven) = (false, false);
        loop {
            match self.shared.breaker.ticket(self.asker()) {
                Ok(ticket) => self.ticket = Some(ticket),
                Err(after) => {
                    let error = RunError::wait(RunErrorKind::UpstreamDown, after, "the breaker is open");
                    return Box::pin(self.end(RunEnd::failed(error))).await;
                }
            }
            self.attempts += 1;
            self.meter = Some(Meter::start(&self.shared.metrics, self.body.len()));
            let attempt = match Box::pin(self.open()).await {
                Ok(()) => self.read().await,
                Err(OpenError { error, lost }) => Attempt::Failed { error, lost },
            };
            let (error, lost) = match attempt {
                Attempt::Ended(end) => {
                    self.tell_breaker(end.outcome.as_ref().err(), true);
                    self.record_attempt(end.outcome.as_ref().err(), true);
                    return Box::pin(self.end(*end)).await;
                }
                Attempt::Failed { error, lost } => (self.redacted(error), lost),
            };
            // Not an attempt at all: the pool's connection was dead, and the next one is new.
            let is_free = lost == Some(Lost::Kept) && !mem::replace(&mut forgiven, true);
            // A new connection that the service closes says little, once, but the budget counts it.
            let is_excused = || {
                lost.is_some()
                    && !excused
                    && self.attempts == 1
                    && self.shared.budget.withdraw(self.order.source)
            };
            let is_repeated = is_free || is_excused();
            self.record_attempt(Some(&error), !is_repeated);
            self.meter = None;
            if is_repeated {
                if is_free {
                    self.shared.metrics.upstream_dead_connections.inc();
                } else {
                    excused = true;
                }
                self.attempts -= 1;
                self.ticket = None;
                continue;
            }
            self.tell_breaker(Some(&error), lost.is_some());
            let Some(pause) = self.next_pause(&error) else {
                return Box::pin(self.end(RunEnd::failed(error))).await;
            };
            self.note_error(&error);
            log::info!(
                "run retrying session={} run={} attempt={} pause_ms={} error={error}",
                self.order.session,
                self.order.run,
                self.attempts,
                pause.as_millis()
            );
            self.shared.metrics.retries.inc();
            let attempt = self.attempts + 1;
            if !Box::pin(self.tell(RunEvent::Retrying { attempt, after: pause })).await {
                return;
            }
            Box::pin(tokio::time::sleep(pause)).await;
        }
    }

    /// The pause before the next attempt, if there is to be one.
    fn next_pause(&self, error: &RunError) -> Option<Duration> {
        let shared = &self.shared;
        let pause = shared.settings.retry.next_pause(self.attempts, error, fastrand::f64())?;
        let in_time = Instant::now() + pause < self.deadline;
        (in_time
            && shared.breaker.refuses(self.order.source).is_none()
            && shared.budget.withdraw(self.order.source))
        .then_some(pause)
    }

    /// An attempt is over: well, or with this error. `connected`: there was a connection for it.
    fn tell_breaker(&mut self, error: Option<&RunError>, connected: bool) {
        let shown = self.recorder.has_text();
        if let Some(mut ticket) = self.ticket.take() {
            ticket.report(error.map_or(Verdict::Answers, |error| Verdict::of(error, shown, connected)));
        }
    }

    fn asker(&self) -> Asker {
        Asker { source: self.order.source, session: self.order.session }
    }

    /// Sends the request and waits for the head of a response.
    async fn open(&mut self) -> Result<(), OpenError> {
        let response = self.shared.client.send(self.body.clone(), self.deadline).await?;
        let mut reader = Reader::new(
            &self.shared.settings.dialect,
            self.shared.settings.limits,
            response.status,
            response.content_type.as_deref(),
            response.retry_after,
            response.request_id.as_deref(),
        );
        if self.shared.habit.repeats() {
            reader.expect_repeats();
        }
        let (stall, delivery) = (self.shared.settings.stall, self.shared.settings.delivery);
        let watched = self.shared.watch.add(stall, delivery, self.deadline, self.order.control.clone());
        self.stream = Some(Stream::new(response, reader, watched));
        Ok(())
    }

    /// Reads the response to its end. A session that is gone has cancelled the run.
    async fn read(&mut self) -> Attempt {
        poll_fn(|cx| self.poll_read(cx)).await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Attempt> {
        let shared = Rc::clone(&self.shared);
        // Empty but for this poll: what is in it is said before the poll ends.
        let mut events = shared.events.take();
        let polled = self.poll_events(cx, &mut events);
        shared.events.set(events);
        polled
    }

    fn poll_events(&mut self, cx: &mut Context<'_>, events: &mut Vec<RunEvent>) -> Poll<Attempt> {
        let Run { stream: Some(stream), order, recorder, ticket, meter, shared, .. } = self else {
            unreachable!("a response is read after it was opened");
        };
        let outcome = match ready!(stream.poll_step(cx, order.control.is_held(), events)) {
            Step::More => {
                if let Some(ticket) = ticket {
                    ticket.report(Verdict::Answers);
                }
                if let Some(meter) = meter {
                    meter.read(mem::take(&mut stream.received));
                    if !events.is_empty() {
                        meter.chunk();
                    }
                }
                pass_on(events, stream.reader.usage(), order, recorder, &shared.metrics);
                if !stream.is_finished() {
                    return Poll::Pending; // The stream has our waker: nothing is left to do in this wake.
                }
                let Some(end) = stream.reader.finish() else { return Poll::Pending };
                return Poll::Ready(Attempt::Ended(Box::new(end))); // Nobody waits for the body to end.
            }
            Step::End => Ok(()),
            Step::Failed(error) => Err(error),
        };
        let end = match outcome {
            Ok(()) => stream.reader.end(events),
            Err(mut error) => {
                if error.request_id.is_none() {
                    error.request_id = stream.reader.request_id().map(str::to_owned);
                }
                let request_id = error.request_id.clone();
                RunEnd {
                    outcome: Err(error),
                    usage: stream.reader.usage(),
                    request_id,
                    timing: Timing::default(),
                }
            }
        };
        if let Some(meter) = meter {
            meter.read(stream.received);
            if !events.is_empty() {
                meter.chunk();
            }
        }
        pass_on(events, end.usage, order, recorder, &shared.metrics);
        self.end_attempt();
        Poll::Ready(match end.outcome {
            Err(error) if !self.recorder.has_text() => Attempt::Failed { error, lost: None },
            _ => Attempt::Ended(Box::new(end)),
        })
    }

    /// Drops the response.
    fn end_attempt(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.recorder.usage(stream.reader.usage());
            if self.shared.habit.note(stream.reader.shown()) {
                log::warn!(
                    "the model service sends the whole text so far in each event although only new text was asked for; \
                     answers are read accordingly from now on; set upstream.incremental to false to ask for it"
                );
            }
        }
    }

    /// Sends what is not text; whether the session is still there. Waits when its mailbox is full, but
    /// a session that takes nothing for too long is told of the end in place of it.
    async fn tell(&mut self, event: RunEvent) -> bool {
        let update = match self.order.sink.try_send(RunUpdate { run: self.order.run, event }) {
            Ok(()) => return true,
            Err(SendError::Closed(_)) => return false,
            Err(SendError::Full(update)) => update,
        };
        if let Ok(sent) = timeout(self.shared.settings.delivery, self.order.sink.send(update)).await {
            return sent.is_ok();
        }
        let end = RunEnd::failed(RunError::new(RunErrorKind::Overloaded, NOT_TAKEN));
        self.recorder.finish(&end);
        // A new address has a place of its own in the mailbox.
        let event = RunEvent::End(Box::new(end));
        let _ = self.order.sink.clone().try_send(RunUpdate { run: self.order.run, event });
        false
    }

    /// The error without the key, should the upstream have repeated it.
    fn redacted(&self, mut error: RunError) -> RunError {
        let texts = [error.code.as_mut(), error.request_id.as_mut(), Some(&mut error.detail)];
        texts.into_iter().flatten().for_each(|text| self.shared.client.redact(text));
        error
    }

    async fn end(mut self: Box<Self>, mut end: RunEnd) {
        end.outcome = end.outcome.map_err(|error| self.redacted(error));
        end.request_id.iter_mut().for_each(|id| self.shared.client.redact(id));
        // Nothing was asked of an upstream that is left alone, and a session's fault is not its own.
        let not_its_own = [RunErrorKind::UpstreamDown, RunErrorKind::Overloaded];
        if let Some(error) = end.outcome.as_ref().err().filter(|e| !not_its_own.contains(&e.kind)) {
            self.note_error(error);
        }
        end.timing = self.recorder.finish(&end);
        if let Some(advice) = end.outcome.as_ref().err().and_then(|error| self.shared.client.advice(error)) {
            log::warn!("the model service refuses the key: {advice}");
        }
        let usage = end.usage.unwrap_or_default();
        self.tell(RunEvent::End(Box::new(end))).await;
        self.read_tail(usage).await;
    }

    /// Reads what is left of a response behind its finished answer, which was told with this usage.
    async fn read_tail(&mut self, told: Usage) {
        let (Some(mut stream), Some(meter)) = (self.stream.take(), &mut self.meter) else { return };
        stream.read_rest().await;
        meter.read(stream.received);
        let usage = stream.reader.usage().unwrap_or_default();
        self.shared.metrics.inference.used(usage.beyond(told));
    }

    fn note_error(&self, error: &RunError) {
        self.shared.metrics.upstream_errors.inc(error.kind.code());
    }

    fn record_attempt(&mut self, error: Option<&RunError>, is_counted: bool) {
        if let Some(meter) = &self.meter {
            self.recorder.attempt(meter, error.map(|error| error.kind), is_counted);
        }
    }
}

/// Passes text on to the session, with what it has cost so far.
fn pass_on(
    events: &mut Vec<RunEvent>,
    usage: Option<Usage>,
    order: &Order,
    recorder: &mut Recorder,
    metrics: &Metrics,
) {
    if !events.is_empty() {
        if let Some(usage) = usage {
            order.control.note_usage(usage);
        }
        events.iter().for_each(|event| recorder.delta(event, metrics));
        order.control.say(events);
    }
}
