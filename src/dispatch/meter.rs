//! The measurements of one request to the upstream.
use crate::{
    chat::{TokenCount, Usage},
    metrics::{Metrics, TargetInference},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// One gap out of this number of gaps between two chunks of output is observed: reading the clock and locking a histogram
/// cost more than the rest of a chunk's accounting.
const SAMPLED: u32 = 16;

/// Exists from the sending of a request to the end of its response; reports the duration when it is dropped.
pub(super) struct Meter {
    metrics: Arc<Metrics>,
    target: Arc<TargetInference>,
    sent: Instant,
    /// Time from sending to the first output.
    first_chunk: Option<Duration>,
    /// Number of reads with output.
    chunks: u32,
    /// When the last chunk before an observed gap arrived.
    opened: Instant,
    uncounted: Uncounted,
}

/// Counts that are not in the metrics yet. All threads share the metrics, so they are not written to for each chunk.
#[derive(Default)]
struct Uncounted {
    /// Bytes of the response.
    bytes: u64,
    deltas: u32,
}

impl Meter {
    /// To be called when a request with a body of this length is sent to this model at an upstream.
    pub(super) fn start(
        metrics: &Arc<Metrics>,
        (upstream, model): (&Arc<str>, &str),
        body_bytes: usize,
    ) -> Self {
        metrics.bytes.upstream_out.inc_by(body_bytes as u64);
        let now = Instant::now();
        let uncounted = Uncounted::default();
        Meter {
            metrics: Arc::clone(metrics),
            target: metrics.inference.target(upstream, model),
            sent: now,
            first_chunk: None,
            chunks: 0,
            opened: now,
            uncounted,
        }
    }

    pub(super) fn sent(&self) -> Instant {
        self.sent
    }

    pub(super) fn first_chunk(&self) -> Option<Duration> {
        self.first_chunk
    }

    /// Counts bytes of the response.
    pub(super) fn read(&mut self, bytes: usize) {
        self.uncounted.bytes += bytes as u64;
    }

    /// Counts a read with this number of deltas, at least one. Returns whether it is the first.
    #[inline]
    pub(super) fn chunk(&mut self, deltas: usize) -> bool {
        let is_first = self.first_chunk.is_none();
        self.uncounted.deltas += deltas as u32;
        self.chunks = self.chunks.wrapping_add(1);
        match self.chunks % SAMPLED {
            1 => {
                self.opened = Instant::now();
                if self.chunks == 1 {
                    let waited = self.opened - self.sent;
                    self.first_chunk = Some(waited);
                    self.target.time_to_first_chunk.observe(waited.as_secs_f64());
                }
                self.count();
            }
            2 => {
                let gap = self.opened.elapsed();
                self.target.time_per_output_chunk.observe(gap.as_secs_f64());
            }
            _ => {}
        }
        is_first
    }

    /// Counts tokens that the service reported after the answer was recorded with its usage.
    pub(super) fn late_usage(&self, usage: Usage) {
        self.target.used(&TokenCount { usage, is_estimated: false }, true);
    }

    fn count(&mut self) {
        let Uncounted { bytes, deltas } = std::mem::take(&mut self.uncounted);
        self.metrics.bytes.upstream_in.inc_by(bytes);
        self.metrics.deltas.inc_by(deltas.into());
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.count();
        self.target.duration.observe(self.sent.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_request_is_observed_once_and_one_gap_in_sixteen() {
        let metrics = Arc::new(Metrics::default());
        let target = (&"default".into(), "none");
        let mut meter = Meter::start(&metrics, target, 7);
        for _ in 0..40 {
            meter.read(100);
            meter.chunk(2);
        }
        meter.read(5);
        drop(meter);
        drop(Meter::start(&metrics, target, 3)); // It failed before its first chunk.
        let text = metrics.text().unwrap();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
            line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(value("gen_ai_client_inference_duration_seconds_count"), 2);
        assert_eq!(value("gen_ai_client_inference_time_to_first_chunk_seconds_count"), 1);
        assert_eq!(value("gen_ai_client_inference_time_per_output_chunk_seconds_count"), 3);
        assert_eq!(value("tidegate_deltas_total"), 80);
        assert_eq!(value("tidegate_bytes_total{leg=\"upstream\",direction=\"in\"}"), 4005);
        assert_eq!(value("tidegate_bytes_total{leg=\"upstream\",direction=\"out\"}"), 10);
    }
}
