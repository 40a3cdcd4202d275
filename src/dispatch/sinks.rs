//! The sinks that get the record of a run at its end.
use crate::{
    chat::{RunRecord, RunSink, price::PriceList},
    metrics::Metrics,
};
use log::Level;
use std::{sync::Arc, time::Duration};

/// The sinks of a process, in the order in which they get a record. Shared by the dispatcher and all lanes.
#[derive(Clone)]
pub struct RunSinks(Arc<Inner>);

struct Inner {
    /// By which a record gets its cost.
    prices: PriceList,
    sinks: Box<[Arc<dyn RunSink>]>,
}

impl RunSinks {
    pub fn new(prices: PriceList, sinks: impl Into<Box<[Arc<dyn RunSink>]>>) -> Self {
        RunSinks(Arc::new(Inner { prices, sinks: sinks.into() }))
    }

    /// Metrics and log.
    pub fn standard(prices: PriceList, metrics: &Arc<Metrics>) -> Self {
        let metrics: Arc<dyn RunSink> = Arc::<Metrics>::clone(metrics);
        RunSinks::new(prices, [metrics, Arc::new(RunLog)])
    }

    pub(super) fn record(&self, mut record: RunRecord) {
        record.settle(&self.0.prices);
        self.0.sinks.iter().for_each(|sink| sink.record(&record));
    }
}

/// One log line per run.
struct RunLog;

impl RunSink for RunLog {
    fn record(&self, record: &RunRecord) {
        let RunRecord { session, run, outcome, deltas, bytes, .. } = record;
        let error = outcome.error();
        let detail = error.map(|error| error.detail.as_str()).filter(|detail| !detail.is_empty());
        let Some(queue_wait) = record.queue_wait else {
            log::debug!(session:% = session, run:% = run, outcome = outcome.code(), detail = detail; "run refused");
            return;
        };
        let tokens = record.answer().and_then(|answer| answer.tokens);
        let request_id = record.request_id.as_ref().or(error.and_then(|error| error.request_id.as_ref()));
        log::log!(
            if error.is_some() { Level::Warn } else { Level::Info },
            session:% = session,
            run:% = run,
            outcome = outcome.code(),
            queue_ms = ms(queue_wait),
            // Both are measured from the slot, so that the first delta is never later than the end.
            duration_ms = ms(record.time_running()),
            first_delta_ms = record.first_delta_running().map(ms),
            deltas = *deltas,
            bytes = *bytes,
            model = &*record.model,
            answered_by = record.answered_by().map(ToString::to_string),
            attempts = record.attempts_counted(),
            moved = record.moves(),
            restarted = record.restarts(),
            usage = tokens.map(|tokens| if tokens.is_estimated { "estimated" } else { "reported" }),
            input_tokens = tokens.map(|tokens| tokens.usage.input_tokens),
            output_tokens = tokens.map(|tokens| tokens.usage.output_tokens),
            cost = record.cost.map(|cost| cost.to_string()),
            upstream_request = request_id.map(String::as_str),
            status = error.and_then(|error| error.status),
            upstream_code = error.and_then(|error| error.code.as_deref()),
            detail = detail;
            "run ended"
        );
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{FinishReason, RunId, RunOutcome, SessionId, Timing};

    #[test]
    fn the_first_delta_of_a_run_is_not_later_than_its_end() {
        let us = Duration::from_micros;
        for (queued, first, whole) in
            [(600, 10_500, 10_500), (600, 10_400, 10_500), (5_000_999, 5_001_000, 5_002_000)]
        {
            let record = RunRecord {
                session: SessionId(1),
                run: RunId(1),
                model: "m".into(),
                codec: "plain",
                outcome: RunOutcome::Finished(FinishReason::Stop),
                timing: Timing { first_delta: Some(us(first)), duration: us(whole) },
                queue_wait: Some(us(queued)),
                attempts: Vec::new(),
                deltas: 1,
                bytes: 1,
                cost: None,
                request_id: None,
            };
            let (first, whole) = (record.first_delta_running().map(ms), ms(record.time_running()));
            assert!(first.is_some_and(|first| first <= whole), "{first:?} of {whole}");
        }
    }
}
