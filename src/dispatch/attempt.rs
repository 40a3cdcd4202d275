//! One attempt of a run: the request that is sent, and the response that is read.
use super::{
    SubmitRun,
    meter::Meter,
    recorder::Recorder,
    router::AttemptGuard,
    shared::LaneShared,
    stream::{Step, Stream},
};
use crate::{
    chat::{RunEnd, RunError, RunEvent, Timing, Usage},
    metrics::Metrics,
    upstream::{
        Outbound,
        breaker::BreakerPermit,
        client::OpenError,
        route::{Blame, Key, LostConnection},
    },
};
use std::{
    mem,
    task::{Context, Poll, ready},
};
use tokio::time::Instant;

/// How an attempt ended.
pub(super) enum Outcome {
    /// The run has ended, well or badly. The response may still be open behind a finished answer.
    Ended(Box<RunEnd>),
    /// It failed before anything was shown, so that another attempt may follow.
    Failed { error: RunError, lost: Option<LostConnection> },
}

impl From<OpenError> for Outcome {
    fn from(OpenError { error, lost }: OpenError) -> Self {
        Outcome::Failed { error, lost }
    }
}

pub(super) struct Attempt {
    /// The permit of the route.
    guard: AttemptGuard,
    meter: Meter,
    /// The response that is read, from its head on.
    stream: Option<Stream>,
}

impl Attempt {
    /// A request with a body of this length is sent next.
    pub(super) fn start(shared: &LaneShared, permit: BreakerPermit, body_bytes: usize) -> Self {
        Attempt {
            guard: AttemptGuard::new(&shared.router, permit),
            meter: Meter::start(&shared.metrics, body_bytes),
            stream: None,
        }
    }

    /// Sends the request and waits for the head of a response.
    pub(super) async fn open(
        &mut self,
        shared: &LaneShared,
        submission: &SubmitRun,
        outbound: &Outbound,
        key: Key,
        deadline: Instant,
    ) -> Result<(), OpenError> {
        let response = shared.client.send(outbound, key, deadline).await?;
        let reader = shared.settings.dialect.reader(response.head(), shared.settings.limits);
        let (stall, delivery) = (shared.settings.stall, shared.settings.delivery);
        let guard = shared.deadlines.add(stall, delivery, deadline, submission.channel.clone());
        self.stream = Some(Stream::new(response, reader, guard));
        Ok(())
    }

    /// Reads what the response brings, and leaves its text for the session.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        shared: &LaneShared,
        submission: &SubmitRun,
        recorder: &mut Recorder,
    ) -> Poll<Outcome> {
        // Empty but for this poll: what is in it is passed on before the poll ends.
        let mut events = shared.events.take();
        let polled = self.poll_events(cx, &mut events, shared, submission, recorder);
        shared.events.set(events);
        polled
    }

    fn poll_events(
        &mut self,
        cx: &mut Context<'_>,
        events: &mut Vec<RunEvent>,
        shared: &LaneShared,
        submission: &SubmitRun,
        recorder: &mut Recorder,
    ) -> Poll<Outcome> {
        let Attempt { stream: Some(stream), guard, meter } = self else {
            unreachable!("a response is read after it was opened");
        };
        let outcome = match ready!(stream.poll_step(cx, submission.channel.is_held(), events)) {
            Step::More => {
                guard.report(Ok(()));
                meter.read(mem::take(&mut stream.received));
                if !events.is_empty() {
                    meter.chunk(events.len());
                }
                pass_on(events, stream.reader.usage(), submission, recorder, &shared.metrics);
                if !stream.is_finished() {
                    return Poll::Pending; // The stream has our waker: nothing is left to do in this wake.
                }
                let Some(end) = stream.reader.finish() else { return Poll::Pending };
                return Poll::Ready(Outcome::Ended(Box::new(end))); // The end of the body is not awaited.
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
                let (usage, timing) = (stream.reader.usage(), Timing::default());
                RunEnd { outcome: Err(error), usage, request_id, timing }
            }
        };
        meter.read(stream.received);
        if !events.is_empty() {
            meter.chunk(events.len());
        }
        pass_on(events, end.usage, submission, recorder, &shared.metrics);
        self.close(shared, recorder);
        Poll::Ready(match end.outcome {
            Err(error) if !recorder.has_text() => Outcome::Failed { error, lost: None },
            _ => Outcome::Ended(Box::new(end)),
        })
    }

    /// Drops the response, whose usage counts.
    pub(super) fn close(&mut self, shared: &LaneShared, recorder: &mut Recorder) {
        if let Some(stream) = self.stream.take() {
            recorder.usage(stream.reader.usage());
            if let Some(warning) = shared.settings.dialect.learn(&stream.reader) {
                log::warn!("{warning}");
            }
        }
    }

    /// Reports what the attempt says of its target, now that it is over.
    pub(super) fn report(&mut self, result: Result<(), Blame>) {
        self.guard.report(result);
    }

    /// Adds the attempt, which is over, to the record of the run.
    pub(super) fn record(&self, recorder: &mut Recorder, error: Option<&RunError>) {
        recorder.attempt(&self.meter, error.map(|error| error.kind));
    }

    /// The permit of a failed attempt, for the route to judge.
    pub(super) fn into_permit(self) -> BreakerPermit {
        self.guard.into_permit()
    }

    /// Reads what is left of a response behind its finished answer; the totals by then.
    pub(super) async fn read_tail(&mut self) -> Option<Usage> {
        let stream = self.stream.as_mut()?;
        stream.read_rest().await;
        self.meter.read(stream.received);
        let usage = stream.reader.usage();
        self.stream = None;
        Some(usage.unwrap_or_default())
    }
}

/// Passes text on to the session, with what it has cost so far.
fn pass_on(
    events: &mut Vec<RunEvent>,
    usage: Option<Usage>,
    submission: &SubmitRun,
    recorder: &mut Recorder,
    metrics: &Metrics,
) {
    if !events.is_empty() {
        if let Some(usage) = usage {
            submission.channel.note_usage(usage);
        }
        events.iter().for_each(|event| recorder.delta(event, metrics));
        submission.channel.push(events);
    }
}
