//! The deadlines of an incomplete message: the idle time and the total time. Pure.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use std::time::Duration;

/// Progress of an incomplete message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Number of the message on its connection.
    pub message: u32,
    /// Payload received. Frame headers and control frames are not progress.
    pub received: u32,
    /// Payload announced by the headers of all fragments so far.
    pub length: u32,
}

/// Deadlines of a message; the connection is closed when one has passed.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Longest pause between two bytes of payload.
    pub idle: Duration,
    /// Longest time from the first byte to the last, without the time for the length.
    pub total: Duration,
    /// Bytes per second that add to `total`.
    pub rate_min: u32,
}

/// When an incomplete message started and last grew.
#[derive(Clone, Copy, Debug)]
pub struct Unfinished {
    progress: Progress,
    began: Duration,
    grew: Duration,
}

impl Unfinished {
    /// A message first seen at `now`; times are relative to any fixed origin.
    pub fn new(now: Duration, progress: Progress) -> Self {
        Unfinished { progress, began: now, grew: now }
    }

    /// Records the progress at `now`.
    pub fn note(&mut self, now: Duration, progress: Progress) {
        if progress.message != self.progress.message {
            *self = Unfinished::new(now, progress);
            return;
        }
        if progress.received > self.progress.received {
            self.grew = now;
        }
        self.progress = progress;
    }

    /// Extends the deadlines by a time in which the gateway did not read.
    pub fn extend(&mut self, time: Duration) {
        self.began = self.began.saturating_add(time);
        self.grew = self.grew.saturating_add(time);
    }

    /// When it was first seen, moved by the extensions.
    pub fn began(&self) -> Duration {
        self.began
    }

    /// When its payload last grew.
    pub fn grew(&self) -> Duration {
        self.grew
    }

    pub fn is_overdue(&self, now: Duration, deadlines: &Deadlines) -> bool {
        let (length, rate) = (u64::from(self.progress.length), u64::from(deadlines.rate_min));
        let upload = Duration::from_millis(length.saturating_mul(1000).checked_div(rate).unwrap_or(u64::MAX));
        let total = deadlines.total.saturating_add(upload);
        now >= self.grew.saturating_add(deadlines.idle) || now >= self.began.saturating_add(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINES: Deadlines =
        Deadlines { idle: Duration::from_secs(30), total: Duration::from_secs(60), rate_min: 4096 };

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn progress(message: u32, received: u32, length: u32) -> Progress {
        Progress { message, received, length }
    }

    // faults: K143
    #[test]
    fn a_message_may_pause_for_so_long_and_no_longer() {
        let mut unfinished = Unfinished::new(s(10), progress(1, 5, 100));
        assert!(!unfinished.is_overdue(s(39), &DEADLINES));
        assert!(unfinished.is_overdue(s(40), &DEADLINES));
        // The same again, as after a pong, is no progress.
        unfinished.note(s(39), progress(1, 5, 100));
        assert!(unfinished.is_overdue(s(40), &DEADLINES));
        unfinished.note(s(39), progress(1, 6, 100));
        assert!(!unfinished.is_overdue(s(60), &DEADLINES));
    }

    // faults: K143
    #[test]
    fn a_message_that_trickles_has_a_time_by_its_length() {
        for (length, seconds) in [(0, 60), (4096, 61), (1 << 20, 316)] {
            let mut unfinished = Unfinished::new(s(0), progress(1, 0, length));
            for now in 1..seconds {
                unfinished.note(s(now), progress(1, now as u32, length));
                assert!(!unfinished.is_overdue(s(now), &DEADLINES), "{length} bytes at {now} s");
            }
            unfinished.note(s(seconds), progress(1, seconds as u32, length));
            assert!(unfinished.is_overdue(s(seconds), &DEADLINES), "{length} bytes");
        }
    }

    // faults: K143
    #[test]
    fn the_next_message_begins_anew() {
        let mut unfinished = Unfinished::new(s(0), progress(1, 5, 100));
        unfinished.note(s(50), progress(2, 1, 100));
        assert!(!unfinished.is_overdue(s(79), &DEADLINES));
        assert!(unfinished.is_overdue(s(80), &DEADLINES));
    }
}
