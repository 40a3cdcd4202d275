//! How long a session outlives its subscribers, and how often subscribers may join.
use std::time::Duration;

use super::Settings;

/// Maximum number of subscribers that may join per [`ATTACH_WINDOW`]; one more is rejected with the time to wait.
const ATTACHES_MAX: usize = 10;
const ATTACH_WINDOW: Duration = Duration::from_secs(1);

/// The clock and timeouts of a session with [`Lifetime::OfChat`](super::Lifetime::OfChat).
#[derive(Debug, Default)]
pub(super) struct Retention {
    /// The time of the last input.
    pub now: Duration,
    /// When the last subscribers joined; a ring that overwrites the oldest.
    attaches: [Option<Duration>; ATTACHES_MAX],
    next_attach: usize,
    /// When the last subscriber left; `None` while there is one.
    detached_since: Option<Duration>,
    /// Since when there has been neither a subscriber nor a run.
    idle_since: Option<Duration>,
    /// Until when the newest finished turn is kept for replay.
    pub replay_until: Option<Duration>,
}

/// Which timeout has expired.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// The run had no subscriber for [`Settings::detached_timeout`].
    Detached,
    /// The session had neither subscriber nor run for [`Settings::idle_timeout`].
    Idle,
}

impl Retention {
    /// Counts a subscriber that joins, or returns how long it has to wait.
    pub(super) fn admit(&mut self) -> Result<(), Duration> {
        let slot = &mut self.attaches[self.next_attach];
        let free = slot.map_or(Duration::ZERO, |joined| joined + ATTACH_WINDOW);
        if free > self.now {
            return Err(free - self.now);
        }
        *slot = Some(self.now);
        self.next_attach = (self.next_attach + 1) % ATTACHES_MAX;
        Ok(())
    }

    /// Keeps the turn that has just ended for replay.
    pub(super) fn retain(&mut self, settings: &Settings) {
        self.replay_until = Some(self.now + settings.replay_time);
    }

    /// Whether the newest finished turn is still kept for replay.
    pub(super) fn keeps(&mut self) -> bool {
        self.replay_until.take_if(|until| *until <= self.now);
        self.replay_until.is_some()
    }

    /// Updates the timers; called after every input.
    pub(super) fn observe(&mut self, has_subscribers: bool, has_run: bool) {
        let now = self.now;
        let since = |when: &mut Option<Duration>, holds: bool| match holds {
            true => *when = when.or(Some(now)),
            false => *when = None,
        };
        since(&mut self.detached_since, !has_subscribers);
        since(&mut self.idle_since, !has_subscribers && !has_run);
    }

    pub(super) fn expired(&self, settings: &Settings) -> Option<Expired> {
        if self.idle_since.is_some_and(|since| since + settings.idle_timeout <= self.now) {
            return Some(Expired::Idle);
        }
        let is_over = self.detached_since.is_some_and(|since| since + settings.detached_timeout <= self.now);
        (is_over && self.idle_since.is_none()).then_some(Expired::Detached)
    }

    /// When the next timeout expires; `None` if none is running.
    pub(super) fn wake_at(&self, settings: &Settings) -> Option<Duration> {
        let left = match (self.idle_since, self.detached_since) {
            (Some(since), _) => Some(since + settings.idle_timeout),
            (None, Some(since)) => Some(since + settings.detached_timeout),
            (None, None) => None,
        };
        [left, self.replay_until].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // faults: A24
    #[test]
    fn ten_may_join_in_any_second() {
        let mut retention = Retention::default();
        let mut admitted = |ms: u64| {
            retention.now = Duration::from_millis(ms);
            retention.admit().map_err(|wait| wait.as_millis())
        };
        for at in 0..10 {
            assert_eq!(admitted(at * 50), Ok(()));
        }
        for _ in 0..100 {
            assert_eq!(admitted(500), Err(500), "a rejected attempt does not extend the wait");
        }
        assert_eq!(admitted(999), Err(1));
        assert_eq!(admitted(1_000), Ok(()));
        assert_eq!(admitted(1_000), Err(50));
        assert_eq!(admitted(60_000), Ok(()));
    }
}
