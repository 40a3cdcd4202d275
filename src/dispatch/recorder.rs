//! Builds the record of a run while it runs, and passes it to the sinks exactly once.
use super::{RunSinks, meter::Meter};
use crate::{
    chat::{
        AttemptRecord, AttemptedBy, RunEnd, RunError, RunErrorKind, RunEvent, RunId, RunOutcome, RunRecord,
        SessionId, Timing, Usage,
    },
    metrics::Metrics,
};
use std::{sync::Arc, thread, time::Duration};
use tokio::time::Instant;

/// Exists as long as its run. A run that is dropped before its end is recorded as cancelled, a run that panics as an
/// internal error.
pub(super) struct Recorder {
    sinks: RunSinks,
    /// When the session submitted the run.
    submitted: Instant,
    shown: Shown,
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
        (session, run): (SessionId, RunId),
        model: &Arc<str>,
        submitted: Instant,
        queue_wait: Duration,
    ) -> Self {
        let record = RunRecord {
            session,
            run,
            model: Arc::clone(model),
            outcome: RunOutcome::Cancelled,
            timing: Timing::default(),
            queue_wait: Some(queue_wait),
            attempts: Vec::new(),
            deltas: 0,
            bytes: 0,
            usage: None,
            request_id: None,
        };
        Recorder { sinks: sinks.clone(), submitted, shown: Shown::default(), record: Some(record) }
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

    /// Whether text was passed to the session.
    pub(super) fn has_text(&self) -> bool {
        self.shown.first_delta.is_some()
    }

    /// Sets the usage of an attempt that is over.
    pub(super) fn usage(&mut self, usage: Option<Usage>) {
        if let Some(record) = &mut self.record {
            record.usage = usage;
        }
    }

    /// Adds an attempt that is over.
    pub(super) fn attempt(&mut self, meter: &Meter, by: AttemptedBy, error: Option<RunErrorKind>) {
        let Some(record) = &mut self.record else { return };
        record.attempts.push(AttemptRecord {
            by,
            sent: meter.sent().saturating_duration_since(self.submitted),
            first_chunk: meter.first_chunk(),
            duration: meter.sent().elapsed(),
            error,
            is_counted: true,
        });
    }

    /// The last attempt does not count: the next one repeats it.
    pub(super) fn uncount_attempt(&mut self) {
        if let Some(attempt) = self.record.as_mut().and_then(|record| record.attempts.last_mut()) {
            attempt.is_counted = false;
        }
    }

    /// The run is over. Returns its times, which are also sent to the client. A second call records nothing.
    pub(super) fn finish(&mut self, end: &RunEnd) -> Timing {
        self.close(|record| {
            record.outcome = end.outcome.clone().into();
            record.usage = end.usage;
            record.request_id.clone_from(&end.request_id);
        })
    }

    fn close(&mut self, complete: impl FnOnce(&mut RunRecord)) -> Timing {
        let Some(mut record) = self.record.take() else { return Timing::default() };
        let Shown { deltas, bytes, first_delta } = self.shown;
        (record.deltas, record.bytes) = (deltas, bytes);
        record.timing = Timing { first_delta, duration: self.submitted.elapsed() };
        complete(&mut record);
        self.sinks.record(&record);
        record.timing
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.close(|record| {
            if thread::panicking() {
                let error = RunError::new(RunErrorKind::Internal, "the run panicked");
                record.outcome = RunOutcome::Failed(error);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::FinishReason;
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
        act(Recorder::new(
            &RunSinks::new([sink]),
            (SessionId(1), RunId(2)),
            &"m".into(),
            submitted,
            Duration::ZERO,
        ));
        kept.0.lock().unwrap().clone()
    }

    fn by(upstream: &str, key: usize) -> AttemptedBy {
        AttemptedBy { upstream: upstream.into(), model: "m".into(), key }
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
        };
        assert_eq!(outcomes(finishes), ["stop"]);
        assert_eq!(outcomes(drop), ["cancelled"]);
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
            let failed = Meter::start(&metrics, 1);
            recorder.attempt(&failed, by("a", 0), Some(RunErrorKind::UpstreamUnreachable));
            recorder.uncount_attempt();
            let mut meter = Meter::start(&metrics, 1);
            assert!(!recorder.has_text());
            for event in [RunEvent::reasoning("hm"), RunEvent::answer("你好")] {
                recorder.delta(&event, &metrics);
                meter.chunk(1);
            }
            assert!(recorder.has_text());
            recorder.attempt(&meter, by("b", 1), None);
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
        assert_eq!((record.usage, record.request_id.as_deref()), (finished().usage, Some("r")));
    }

    #[test]
    fn a_cancelled_run_keeps_the_usage_of_its_last_attempt() {
        let records = records(|mut recorder| recorder.usage(finished().usage));
        assert_eq!((records[0].outcome.code(), records[0].usage), ("cancelled", finished().usage));
    }
}
