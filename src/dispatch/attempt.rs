//! One attempt of a run: its request and its response.
use super::{
    SubmitRun,
    meter::Meter,
    recorder::Recorder,
    router::AttemptGuard,
    shared::LaneShared,
    stream::{Step, Stream},
    stream_deadlines::Times,
};
use crate::{
    chat::{
        AttemptedBy, Reported, RunEnd, RunError, RunEvent, TextKind, Timing, Usage,
        seam::{self, Seam},
    },
    metrics::Metrics,
    upstream::{
        Outbound,
        client::OpenError,
        route::{Go, Key, LostConnection, Permit, Target},
    },
};
use std::{
    mem,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Instant;

/// How an attempt ended.
pub(super) enum Outcome {
    /// The run has ended, with or without an error. After a finished answer the response may still be open.
    Ended(Box<RunEnd>),
    /// It failed before any text was passed to the session.
    Failed { error: RunError, lost: Option<LostConnection> },
    /// It failed after text was passed to the session: how the run ends unless another attempt has text.
    BrokeOff(Box<RunEnd>),
}

pub(super) struct Attempt {
    pub(super) target: Target,
    /// The name of its upstream.
    pub(super) upstream: Arc<str>,
    /// The name of its model in the configuration.
    table: Arc<str>,
    key: Key,
    /// There was a connection for the request.
    is_sent: bool,
    /// From sending the request to the first text.
    first_token: Duration,
    /// Between two pieces of text.
    text: Duration,
    /// The route's permit.
    guard: AttemptGuard,
    meter: Meter,
    /// The response, once its head has arrived.
    stream: Option<Stream>,
    /// What the response reported of tokens, once it is closed.
    reported: Reported,
    /// What its first text follows.
    follows: Follows,
    continues: bool,
    /// Its text so far, if another attempt may go on with it. `None` with reasoning.
    kept: Option<String>,
}

/// What the first text of an attempt follows.
pub(super) enum Follows {
    /// Nothing that was shown.
    Nothing,
    /// It withdraws what was shown before. The session learns of this model with it.
    Withdrawn(Arc<str>),
    /// It goes on with what was shown before.
    Continued(Seam),
}

impl Attempt {
    /// To be called right before a request with a body of this length is sent.
    pub(super) fn start(shared: &LaneShared, go: Go, body_bytes: usize, follows: Follows) -> Self {
        let Go { target, upstream, table, key, permit, first_token, text, continues, keeps_text, .. } = go;
        let meter = Meter::start(&shared.metrics, (&upstream, &target.model), body_bytes);
        Attempt {
            target,
            upstream,
            table,
            key,
            is_sent: false,
            first_token,
            text,
            guard: AttemptGuard::new(&shared.router, permit),
            meter,
            stream: None,
            reported: Reported::NoResponse,
            follows,
            continues,
            kept: keeps_text.then(String::new),
        }
    }

    /// Sends the request and waits for the head of the response.
    pub(super) async fn open(
        &mut self,
        shared: &LaneShared,
        submission: &SubmitRun,
        outbound: &Outbound,
        deadline: Instant,
    ) -> Result<(), OpenError> {
        let upstream = shared.upstream(&self.target);
        let first_text = self.meter.sent() + self.first_token;
        let head_by = deadline.min(first_text);
        let response = upstream.client().send(outbound, self.key, head_by, &mut self.is_sent).await?;
        let (upstream, set) = (&upstream.shared, &submission.request.parameters);
        let reader = upstream.dialect.reader(set, response.head(), upstream.limits);
        let times = Times {
            silence: upstream.stall,
            first_text,
            text: self.text,
            delivery: shared.settings.delivery,
            deadline,
        };
        let guard = shared.deadlines.add(times, submission.channel.clone());
        self.stream = Some(Stream::new(response, reader, guard));
        Ok(())
    }

    /// Reads the response as far as it has arrived, and leaves its text for the session.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        shared: &LaneShared,
        submission: &SubmitRun,
        recorder: &mut Recorder,
    ) -> Poll<Outcome> {
        // Empty between polls: its events are passed on before the poll ends.
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
        let Attempt { stream: Some(stream), guard, meter, follows, kept, .. } = self else {
            unreachable!("a response is read after it was opened");
        };
        // What readers have not read of text that will be withdrawn does not hold the run.
        let held = submission.channel.is_held() && !matches!(follows, Follows::Withdrawn(_));
        let outcome = match ready!(stream.poll_step(cx, held, events)) {
            Step::More => {
                guard.report(Ok(()));
                meter.read(mem::take(&mut stream.received));
                if lead(events, meter, follows, kept) {
                    stream.has_text();
                }
                pass_on(events, stream.reader.usage(), submission, recorder, &shared.metrics);
                if !stream.is_finished() {
                    return Poll::Pending; // The response has registered the waker.
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
        lead(events, meter, follows, kept);
        pass_on(events, end.usage, submission, recorder, &shared.metrics);
        self.close(shared);
        Poll::Ready(match end.outcome {
            Ok(_) => Outcome::Ended(Box::new(end)),
            Err(_) if self.has_text() => Outcome::BrokeOff(Box::new(end)),
            Err(error) => Outcome::Failed { error, lost: None },
        })
    }

    /// Whether text of it was passed to the session.
    fn has_text(&self) -> bool {
        self.meter.first_chunk().is_some()
    }

    /// Drops the response.
    pub(super) fn close(&mut self, shared: &LaneShared) {
        if let Some(stream) = self.stream.take() {
            self.reported = Reported::Totals(stream.reader.usage());
            let dialect = &shared.upstream(&self.target).shared.dialect;
            if let Some(warning) = dialect.learn(&self.target.model, &stream.reader) {
                log::warn!("{warning}");
            }
        }
    }

    /// Whether the rest of its response can be read.
    pub(super) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// What the response has reported of tokens so far.
    pub(super) fn reported(&self) -> Reported {
        match &self.stream {
            Some(stream) => Reported::Totals(stream.reader.usage()),
            None if self.is_sent => self.reported,
            None => Reported::NotSent,
        }
    }

    /// It has answered to the end.
    pub(super) fn succeed(&mut self, recorder: &mut Recorder) {
        self.guard.report(Ok(()));
        self.record(recorder, None);
    }

    /// Adds the attempt to the record of the run, when it is over.
    pub(super) fn record(&self, recorder: &mut Recorder, error: Option<&RunError>) {
        let by = AttemptedBy {
            upstream: Arc::clone(&self.upstream),
            model: Arc::clone(&self.target.model),
            table: Arc::clone(&self.table),
            key: self.key.0,
        };
        recorder.attempt(&self.meter, by, error, self.reported(), self.continues);
    }

    /// What was kept of its text, if a model can go on with it.
    pub(super) fn take_kept(&mut self) -> Option<String> {
        self.kept.take().filter(|kept| !seam::beginning(kept).is_empty())
    }

    /// The permit of a failed attempt, for the route to attribute the failure.
    pub(super) fn into_permit(self) -> Permit {
        self.guard.into_permit()
    }

    /// Counts tokens that the service reported after the answer was recorded with its usage.
    pub(super) fn late_usage(&self, usage: Usage) {
        self.meter.late_usage(usage);
    }

    /// Reads the rest of the response after a finished answer. Returns the usage known by then.
    pub(super) async fn read_tail(&mut self) -> Option<Usage> {
        let stream = self.stream.as_mut()?;
        stream.read_rest().await;
        self.meter.read(stream.received);
        let usage = stream.reader.usage();
        self.stream = None;
        usage
    }
}

/// Has what was read follow what was shown before. Returns whether the first text of the attempt is in it.
#[inline]
fn lead(
    events: &mut Vec<RunEvent>,
    meter: &mut Meter,
    follows: &mut Follows,
    kept: &mut Option<String>,
) -> bool {
    let is_first = !events.is_empty() && meter.chunk(events.len());
    if is_first {
        begin(events, follows);
    }
    join(events, follows, kept);
    is_first
}

/// Has the first text of an attempt follow what the session is to know of it. Nothing that was shown is withdrawn without it.
#[cold]
fn begin(events: &mut Vec<RunEvent>, follows: &mut Follows) {
    if let Follows::Withdrawn(_) = follows
        && let Follows::Withdrawn(model) = mem::replace(follows, Follows::Nothing)
    {
        events.insert(0, RunEvent::Restarted { model });
    }
}

/// Joins text to what was shown before, and keeps it where another attempt may go on with it.
fn join(events: &mut Vec<RunEvent>, follows: &mut Follows, kept: &mut Option<String>) {
    if let Follows::Continued(seam) = follows
        && leave_out_shown(events, seam)
    {
        events.insert(0, RunEvent::Continued);
        *follows = Follows::Nothing;
    }
    if kept.is_some() {
        keep(events, kept);
    }
}

/// Leaves out what is not new: blanks that were shown, and reasoning before the first new text. Returns whether there is some.
#[cold]
fn leave_out_shown(events: &mut Vec<RunEvent>, seam: &mut Seam) -> bool {
    let mut has_new = false;
    events.retain_mut(|event| {
        if let RunEvent::Text { kind: TextKind::Answer, text } = event
            && !has_new
        {
            *text = seam.join(text).to_owned();
            has_new = !text.is_empty();
        }
        has_new
    });
    has_new
}

/// Reasoning stands between what was kept and what follows: then nothing is kept.
#[cold]
fn keep(events: &[RunEvent], kept: &mut Option<String>) {
    for event in events {
        match (event, kept.as_mut()) {
            (RunEvent::Text { kind: TextKind::Answer, text }, Some(kept)) => kept.push_str(text),
            (RunEvent::Text { kind: TextKind::Reasoning, .. }, _) => *kept = None,
            _ => {}
        }
    }
}

/// Passes text on to the session, with the usage so far.
fn pass_on(
    events: &mut Vec<RunEvent>,
    usage: Option<Usage>,
    submission: &SubmitRun,
    recorder: &mut Recorder,
    metrics: &Metrics,
) {
    if !events.is_empty() {
        events.iter().for_each(|event| recorder.delta(event, metrics));
        submission.channel.push(events, usage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What was read each time: often nothing, as of a frame with usage alone.
    fn reads() -> impl Strategy<Value = Vec<Vec<RunEvent>>> {
        let piece = (any::<bool>(), "[ab \n]{1,3}").prop_map(|(is_answer, text)| {
            if is_answer { RunEvent::answer(&text) } else { RunEvent::reasoning(&text) }
        });
        prop::collection::vec(prop_oneof![Just(vec![]), prop::collection::vec(piece, 0..4)], 0..8)
    }

    proptest! {
        /// Whatever arrives and in however many reads: shown text is withdrawn once, together with the piece that takes its
        /// place, and never by an attempt that goes on with it or that follows nothing.
        #[test]
        fn no_text_is_withdrawn_unless_a_new_piece_is_in_hand(
            reads in reads(),
            follows in 0..3_u8,
            keeps in any::<bool>(),
        ) {
            let mut meter = Meter::start(&Arc::default(), (&"a".into(), "m"), 0);
            let mut kept = keeps.then(String::new);
            let mut followed = match follows {
                0 => Follows::Nothing,
                1 => Follows::Withdrawn("f".into()),
                _ => Follows::Continued(Seam::new("a ")),
            };
            let restarted = RunEvent::Restarted { model: "f".into() };
            let mut withdrawn = 0;
            for read in &reads {
                let mut passed = read.clone();
                lead(&mut passed, &mut meter, &mut followed, &mut kept);
                if passed.contains(&restarted) {
                    withdrawn += 1;
                    prop_assert_eq!(&passed[0], &restarted);
                    prop_assert!(matches!(passed.get(1), Some(RunEvent::Text { .. })), "{:?}", passed);
                    prop_assert_eq!(&passed[1..], &read[..], "nothing new is lost");
                }
            }
            let has_text = reads.iter().any(|read| !read.is_empty());
            prop_assert_eq!(withdrawn, usize::from(follows == 1 && has_text));
        }
    }

    #[test]
    fn an_answer_that_is_gone_on_with_has_its_text_once() {
        let mut follows = Follows::Continued(Seam::new("a tide "));
        let mut kept = Some(String::new());
        for (event, passed) in [
            (RunEvent::reasoning("so"), vec![]),
            (RunEvent::answer(" "), vec![]),
            (RunEvent::answer("is"), vec![RunEvent::Continued, RunEvent::answer("is")]),
            (RunEvent::answer(" high"), vec![RunEvent::answer(" high")]),
        ] {
            let mut events = vec![event];
            join(&mut events, &mut follows, &mut kept);
            assert_eq!(events, passed);
        }
        assert_eq!(kept.as_deref(), Some("is high"));
        join(&mut vec![RunEvent::reasoning("so")], &mut follows, &mut kept);
        join(&mut vec![RunEvent::answer(".")], &mut follows, &mut kept);
        assert_eq!(kept, None, "reasoning stands in between");
    }
}
