//! Where the record of a run goes at its end: a list, so that another reader of records is one entry more.
use crate::{
    chat::{RunRecord, RunSink},
    metrics::Metrics,
};
use std::sync::Arc;

/// The sinks of a process, in the order in which they get a record. Shared by the dispatcher and all lanes.
#[derive(Clone)]
pub struct RunSinks(Arc<[Arc<dyn RunSink>]>);

impl RunSinks {
    pub fn new(sinks: impl Into<Arc<[Arc<dyn RunSink>]>>) -> Self {
        RunSinks(sinks.into())
    }

    /// Metrics and log.
    pub fn standard(metrics: &Arc<Metrics>) -> Self {
        let metrics: Arc<dyn RunSink> = Arc::<Metrics>::clone(metrics);
        RunSinks::new([metrics, Arc::new(RunLog)])
    }

    pub(super) fn record(&self, record: &RunRecord) {
        self.0.iter().for_each(|sink| sink.record(record));
    }
}

/// One log line per run.
struct RunLog;

impl RunSink for RunLog {
    fn record(&self, record: &RunRecord) {
        let RunRecord { session, run, outcome, timing, deltas, bytes, request_id, .. } = record;
        if record.queue_wait.is_none() {
            let error = outcome.error().map(|error| format!(" error={error}")).unwrap_or_default();
            log::debug!("run refused session={session} run={run}{error}");
            return;
        }
        let error = outcome.error();
        let level = if error.is_some() { log::Level::Warn } else { log::Level::Info };
        let usage = record.usage.unwrap_or_default();
        log::log!(
            level,
            "run ended session={session} run={run} outcome={} duration_ms={} first_delta_ms={} deltas={deltas} \
             bytes={bytes} attempts={} input_tokens={} output_tokens={} upstream_request={}{}",
            outcome.code(),
            record.time_running().as_millis(),
            timing.first_delta.map_or(-1, |first| first.as_millis() as i64),
            record.attempts_counted(),
            usage.input_tokens,
            usage.output_tokens,
            request_id.as_deref().unwrap_or("-").escape_default(),
            error.map(|error| format!(" error={error}")).unwrap_or_default()
        );
    }
}
