//! Builds the record of a run while it runs, and passes it to the sinks exactly once.
use super::{RunSinks, meter::Meter};
use crate::{
    chat::{
        AttemptRecord, AttemptedBy, Reported, RunEnd, RunError, RunErrorKind, RunEvent, RunId, RunOutcome,
        RunRecord, RunRequest, SessionId, Timing, TokenCount, TokenEstimate, Usage,
    },
    metrics::Metrics,
};
use std::{mem, sync::Arc, thread, time::Duration};
use tokio::time::Instant;

/// Exists as long as its run. A run that is dropped before its end is recorded as cancelled, a run that panics as an
/// internal error.
pub(super) struct Recorder {
    sinks: RunSinks,
    /// When the session submitted the run.
    submitted: Instant,
    shown: Shown,
    /// How tokens are estimated that no service counts.
    estimate: TokenEstimate,
    /// The outcome is known, and perhaps the usage is still to come.
    is_finished: bool,
    /// `None` once it is passed to the sinks.
    record: Option<RunRecord>,
}

/// The fields that change with every delta, kept together so that they share a cache line.
#[derive(Clone, Copy, Default)]
struct Shown {
    deltas: u64,
    bytes: u64,
    first_delta: Option<Duration>,
}

impl Recorder {
    /// For a run that gets its slot now, `queue_wait` after it was submitted.
    pub(super) fn new(
        sinks: &RunSinks,
        (session, run, codec): (SessionId, RunId, &'static str),
        request: &RunRequest,
        submitted: Instant,
        queue_wait: Duration,
    ) -> Self {
        let record = RunRecord {
            session,
            run,
            model: Arc::clone(&request.model),
            codec,
            outcome: RunOutcome::Cancelled,
            timing: Timing::default(),
            queue_wait: Some(queue_wait),
            attempts: Vec::new(),
            deltas: 0,
            bytes: 0,
            cost: None,
            request_id: None,
        };
        Recorder {
            sinks: sinks.clone(),
            submitted,
            shown: Shown::default(),
            estimate: request.tokens,
            is_finished: false,
            record: Some(record),
        }
    }

    /// Counts text that is passed to the session. Called for every delta.
    pub(super) fn delta(&mut self, event: &RunEvent, metrics: &Metrics) {
        let RunEvent::Text { text, .. } = event else { return };
        self.shown.deltas += 1;
        self.shown.bytes += text.len() as u64;
        if self.shown.first_delta.is_none() {
            let waited = self.submitted.elapsed();
            self.shown.first_delta = Some(waited);
            metrics.turn_first_delta.observe(waited.as_secs_f64());
        }
    }

    /// Adds an attempt that is over.
    pub(super) fn attempt(
        &mut self,
        meter: &Meter,
        by: AttemptedBy,
        error: Option<&RunError>,
        reported: Reported,
        continues: bool,
    ) {
        let Some(record) = self.record.as_mut().filter(|_| !self.is_finished) else { return };
        let before: u64 = record.attempts.iter().map(|attempt| attempt.bytes).sum();
        let bytes = self.shown.bytes.saturating_sub(before);
        record.attempts.push(AttemptRecord {
            by,
            sent: meter.sent().saturating_duration_since(self.submitted),
            first_chunk: meter.first_chunk(),
            duration: meter.sent().elapsed(),
            error: error.map(|error| error.kind),
            is_counted: true,
            bytes,
            continues,
            tokens: TokenCount::of(reported, error, &self.estimate, bytes),
        });
    }

    /// The last attempt does not count: the next one repeats it.
    pub(super) fn uncount_attempt(&mut self) {
        if let Some(attempt) = self.record.as_mut().and_then(|record| record.attempts.last_mut()) {
            attempt.is_counted = false;
        }
    }

    /// The run is over. Returns its times, which are also sent to the client. A second call changes nothing.
    pub(super) fn finish(&mut self, end: &RunEnd) -> Timing {
        self.end_with(end.outcome.clone().into(), end.request_id.clone())
    }

    fn end_with(&mut self, outcome: RunOutcome, request_id: Option<String>) -> Timing {
        let Some(record) = &mut self.record else { return Timing::default() };
        if !mem::replace(&mut self.is_finished, true) {
            let Shown { deltas, bytes, first_delta } = self.shown;
            (record.deltas, record.bytes) = (deltas, bytes);
            record.timing = Timing { first_delta, duration: self.submitted.elapsed() };
            (record.outcome, record.request_id) = (outcome, request_id);
        }
        record.timing
    }

    /// The service counted the tokens of the last attempt after its answer was finished.
    pub(super) fn late_usage(&mut self, usage: Usage) {
        if let Some(last) = self.record.as_mut().and_then(|record| record.attempts.last_mut()) {
            last.tokens = Some(TokenCount { usage, is_estimated: false });
        }
    }

    /// Passes the record on, unless that was done.
    pub(super) fn close(&mut self) {
        if let Some(record) = self.record.take() {
            self.sinks.record(record);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let outcome = match thread::panicking() {
            true => RunOutcome::Failed(RunError::new(RunErrorKind::Internal, "the run panicked")),
            false => RunOutcome::Cancelled,
        };
        self.end_with(outcome, None);
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{FinishReason, Parameters, price::PriceList};
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::Mutex,
    };

    #[derive(Default)]
    struct Kept(Mutex<Vec<RunRecord>>);

    impl crate::chat::RunSink for Kept {
        fn record(&self, record: &RunRecord) {
            self.0.lock().unwrap().push(record.clone());
        }
    }

    /// The records that a run leaves.
    fn records(act: impl FnOnce(Recorder)) -> Vec<RunRecord> {
        let kept = Arc::new(Kept::default());
        let sink: Arc<dyn crate::chat::RunSink> = Arc::<Kept>::clone(&kept);
        let submitted = Instant::now();
        let request = RunRequest {
            model: "m".into(),
            parameters: Parameters::default(),
            messages: Vec::new(),
            tokens: TokenEstimate::default(),
            omitted_turns: 0,
        };
        let names = (SessionId(1), RunId(2), "plain");
        act(Recorder::new(
            &RunSinks::new(PriceList::default(), [sink]),
            names,
            &request,
            submitted,
            Duration::ZERO,
        ));
        kept.0.lock().unwrap().clone()
    }

    fn by(upstream: &str, key: usize) -> AttemptedBy {
        AttemptedBy { upstream: upstream.into(), model: "m".into(), table: "m".into(), key }
    }

    fn finished() -> RunEnd {
        let usage = Some(Usage { input_tokens: 1, output_tokens: 2, ..Usage::default() });
        let request_id = Some("r".to_owned());
        RunEnd { outcome: Ok(FinishReason::Stop), usage, request_id, timing: Timing::default() }
    }

    #[test]
    fn a_run_is_recorded_once_however_it_ends() {
        let outcomes =
            |act: fn(Recorder)| records(act).iter().map(|record| record.outcome.code()).collect::<Vec<_>>();
        let finishes = |mut recorder: Recorder| {
            recorder.finish(&finished());
            recorder.close();
            recorder.close();
        };
        assert_eq!(outcomes(finishes), ["stop"]);
        assert_eq!(outcomes(drop), ["cancelled"]);
        let waits_for_usage = |mut recorder: Recorder| {
            recorder.finish(&finished());
        };
        assert_eq!(outcomes(waits_for_usage), ["stop"]);
        let twice = |mut recorder: Recorder| {
            recorder.finish(&RunEnd::failed(RunError::new(RunErrorKind::Overloaded, "")));
            recorder.finish(&finished());
        };
        assert_eq!(outcomes(twice), ["overloaded"]);
        let panics = |recorder: Recorder| {
            let run = AssertUnwindSafe(move || {
                let _recorder = recorder;
                panic!("a run of a test");
            });
            assert!(catch_unwind(run).is_err());
        };
        assert_eq!(outcomes(panics), ["internal"]);
    }

    #[test]
    fn a_record_has_the_attempts_the_text_and_the_usage() {
        let metrics = Arc::new(Metrics::default());
        let records = records(|mut recorder| {
            let failed = Meter::start(&metrics, (&"a".into(), "m"), 1);
            let error = RunError::new(RunErrorKind::UpstreamUnreachable, "");
            recorder.attempt(&failed, by("a", 0), Some(&error), Reported::NoResponse, false);
            recorder.uncount_attempt();
            let mut meter = Meter::start(&metrics, (&"a".into(), "m"), 1);
            for event in [RunEvent::reasoning("hm"), RunEvent::answer("你好")] {
                recorder.delta(&event, &metrics);
                meter.chunk(1);
            }
            recorder.attempt(&meter, by("b", 1), None, Reported::Totals(finished().usage), false);
            let timing = recorder.finish(&finished());
            assert!(timing.first_delta.is_some_and(|first| first <= timing.duration));
        });
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((record.session, record.run, &*record.model), (SessionId(1), RunId(2), "m"));
        assert_eq!((record.deltas, record.bytes), (2, 8));
        assert_eq!(record.attempts_counted(), 1);
        let [dead, answered] = &record.attempts[..] else { panic!("{record:?}") };
        assert_eq!((dead.error, dead.first_chunk), (Some(RunErrorKind::UpstreamUnreachable), None));
        assert_eq!(answered.error, None);
        assert_eq!(record.answered_by().map(ToString::to_string).as_deref(), Some("b/k2"));
        assert_eq!(record.moves(), 1);
        assert!(answered.first_chunk.is_some_and(|first| first <= answered.duration));
        assert!(dead.sent <= answered.sent);
        let used = answered.tokens.filter(|tokens| !tokens.is_estimated).map(|tokens| tokens.usage);
        assert_eq!((used, record.request_id.as_deref()), (finished().usage, Some("r")));
        assert_eq!((dead.tokens, dead.bytes, answered.bytes), (None, 0, 8));
    }

    #[test]
    fn usage_that_comes_after_the_finish_takes_the_place_of_the_estimate() {
        let metrics = Arc::new(Metrics::default());
        let records = records(|mut recorder| {
            let meter = Meter::start(&metrics, (&"a".into(), "m"), 1);
            recorder.delta(&RunEvent::answer("12345"), &metrics);
            recorder.attempt(&meter, by("a", 0), None, Reported::Totals(None), false);
            recorder.finish(&finished());
            recorder.attempt(&meter, by("a", 0), None, Reported::NoResponse, false); // None is added any more.
            recorder.late_usage(finished().usage.unwrap());
        });
        let tokens = TokenCount { usage: finished().usage.unwrap(), is_estimated: false };
        assert_eq!(
            records[0].attempts.iter().map(|attempt| attempt.tokens).collect::<Vec<_>>(),
            [Some(tokens)]
        );
    }
}
