//! When a peer that takes nothing is given up.
use super::peer_progress::{self, Progress};
use std::{future::Future, pin::Pin, task::Context, time::Duration};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

/// How often within the limit the kernel is asked whether there was progress after all.
const LOOKS: u32 = 6;
/// The first look, with which all later ones are compared, comes sooner by this factor.
const FIRST: u32 = 4;

/// The write deadline of one connection; it exists only while something waits to be written.
///
/// The peer is given up once it has made no progress for the limit, and at most one look (a sixth of the limit)
/// later.
pub struct Stall {
    limit: Duration,
    check: Pin<Box<Sleep>>,
    watch: Watch,
}

impl Stall {
    /// Begins now: the kernel has refused bytes.
    pub fn new(limit: Duration) -> Self {
        let watch = Watch::default();
        Stall { limit, check: Box::pin(sleep(watch.pause(limit))), watch }
    }

    /// The kernel has taken bytes.
    pub fn restart(&mut self) {
        self.watch = Watch::default();
        self.check.as_mut().reset(Instant::now() + self.watch.pause(self.limit));
    }

    /// Whether the time is up; otherwise the task is woken for the next look.
    pub fn poll(&mut self, io: &TcpStream, cx: &mut Context<'_>) -> bool {
        while self.check.as_mut().poll(cx).is_ready() {
            if self.watch.observe(peer_progress::look(io)) {
                return true;
            }
            self.check.as_mut().reset(Instant::now() + self.watch.pause(self.limit));
        }
        false
    }
}

/// The rule: counts looks in a row that saw no progress.
#[derive(Debug, Default)]
struct Watch {
    /// There was a look, and what it saw: nothing where the kernel does not report it.
    seen: Option<Option<Progress>>,
    still: u32,
}

impl Watch {
    /// Until the next look.
    fn pause(&self, limit: Duration) -> Duration {
        if self.seen.is_none() { limit / (LOOKS * FIRST) } else { limit / LOOKS }
    }

    /// Takes the next look; whether the peer is given up.
    fn observe(&mut self, now: Option<Progress>) -> bool {
        let progress = match (&now, &self.seen) {
            (_, None) => true, // The base line.
            (Some(now), Some(Some(earlier))) => now.is_beyond(earlier),
            (Some(_), Some(None)) => true,
            (None, Some(_)) => false, // Only what is written counts.
        };
        self.still = if progress { 0 } else { self.still + 1 };
        self.seen = Some(now);
        self.still >= LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(12);

    /// When a peer is given up whose progress, as the kernel tells it, is the time of its last step.
    fn given_up(steps: &[Duration], kernel_tells: bool) -> Duration {
        let mut watch = Watch::default();
        let mut now = watch.pause(LIMIT);
        loop {
            let done = steps.iter().filter(|step| **step <= now).count() as u64;
            if watch.observe(kernel_tells.then(|| Progress::acked(done))) {
                return now;
            }
            now += watch.pause(LIMIT);
        }
    }

    // faults: A17
    #[test]
    fn the_limit_is_the_limit_and_one_look_at_most() {
        let look = LIMIT / LOOKS;
        assert_eq!(given_up(&[], true), LIMIT + look / FIRST);
        assert_eq!(given_up(&[], false), LIMIT + look / FIRST, "where the kernel tells nothing");
        for last in (0..60_000).step_by(7) {
            let last = Duration::from_millis(last);
            // One step a second up to the last.
            let steps: Vec<_> = (0..=last.as_secs()).map(Duration::from_secs).chain([last]).collect();
            let after = given_up(&steps, true) - last;
            assert!(after >= LIMIT && after <= LIMIT + look, "{last:?}: {after:?}");
        }
    }
}
