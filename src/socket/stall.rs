//! Detects a peer that accepts no data.
use super::peer_progress::{self, Progress};
use std::{future::Future, pin::Pin, task::Context, time::Duration};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

/// Probes per write timeout: how often the kernel is asked whether there was progress.
const PROBES: u32 = 6;
/// The first probe, the baseline of later ones, comes earlier by this factor.
const FIRST_PROBE_FACTOR: u32 = 4;

/// The write timeout of one connection; it exists only while output is pending.
///
/// It expires when the peer has made no progress for the limit, at most one probe interval (a sixth of the
/// limit) later.
pub struct Stall {
    limit: Duration,
    check: Pin<Box<Sleep>>,
    counter: ProgressCounter,
}

impl Stall {
    /// Starts now: the kernel has rejected output.
    pub fn new(limit: Duration) -> Self {
        let counter = ProgressCounter::default();
        Stall { limit, check: Box::pin(sleep(counter.pause(limit))), counter }
    }

    /// Restarts, because the kernel has accepted output.
    pub fn restart(&mut self) {
        self.counter = ProgressCounter::default();
        self.check.as_mut().reset(Instant::now() + self.counter.pause(self.limit));
    }

    /// Returns true if the timeout has expired; otherwise the task is woken for the next probe.
    pub fn poll(&mut self, io: &TcpStream, cx: &mut Context<'_>) -> bool {
        while self.check.as_mut().poll(cx).is_ready() {
            if self.counter.observe(peer_progress::probe(io)) {
                return true;
            }
            self.check.as_mut().reset(Instant::now() + self.counter.pause(self.limit));
        }
        false
    }
}

/// The rule: counts consecutive probes without progress.
#[derive(Debug, Default)]
struct ProgressCounter {
    /// The last probe, if any; the inner `None` if the kernel did not report it.
    seen: Option<Option<Progress>>,
    still: u32,
}

impl ProgressCounter {
    /// Time until the next probe.
    fn pause(&self, limit: Duration) -> Duration {
        if self.seen.is_none() { limit / (PROBES * FIRST_PROBE_FACTOR) } else { limit / PROBES }
    }

    /// Evaluates a probe; true if the timeout has expired.
    fn observe(&mut self, now: Option<Progress>) -> bool {
        let progress = match (&now, &self.seen) {
            (_, None) => true, // The baseline.
            (Some(now), Some(Some(earlier))) => now.is_beyond(earlier),
            (Some(_), Some(None)) => true,
            (None, Some(_)) => false, // Only writes count.
        };
        self.still = if progress { 0 } else { self.still + 1 };
        self.seen = Some(now);
        self.still >= PROBES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(12);

    /// When the timeout expires for a peer that progresses at `steps`, as the kernel reports it.
    fn given_up(steps: &[Duration], kernel_reports: bool) -> Duration {
        let mut counter = ProgressCounter::default();
        let mut now = counter.pause(LIMIT);
        loop {
            let done = steps.iter().filter(|step| **step <= now).count() as u64;
            if counter.observe(kernel_reports.then(|| Progress::acked(done))) {
                return now;
            }
            now += counter.pause(LIMIT);
        }
    }

    // faults: A17
    #[test]
    fn the_limit_is_the_limit_and_one_look_at_most() {
        let probe = LIMIT / PROBES;
        assert_eq!(given_up(&[], true), LIMIT + probe / FIRST_PROBE_FACTOR);
        assert_eq!(
            given_up(&[], false),
            LIMIT + probe / FIRST_PROBE_FACTOR,
            "where the kernel tells nothing"
        );
        for last in (0..60_000).step_by(7) {
            let last = Duration::from_millis(last);
            // One step per second up to the last.
            let steps: Vec<_> = (0..=last.as_secs()).map(Duration::from_secs).chain([last]).collect();
            let after = given_up(&steps, true) - last;
            assert!(after >= LIMIT && after <= LIMIT + probe, "{last:?}: {after:?}");
        }
    }
}
