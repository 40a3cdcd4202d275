//! How long a conversation outlives its readers, and how often it may be joined: rules of time.
use std::time::Duration;

use super::Settings;

/// Readers that may join in [`ATTACH_WINDOW`].
const ATTACHES_MAX: usize = 10;
const ATTACH_WINDOW: Duration = Duration::from_secs(1);

/// What a session of [`Lifetime::OfChat`](super::Lifetime::OfChat) has beside the others.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// The time of the last input.
    pub now: Duration,
    /// When the last readers joined; the oldest is overwritten.
    attaches: [Option<Duration>; ATTACHES_MAX],
    next_attach: usize,
    /// Since when there is no reader.
    alone: Option<Duration>,
    /// Since when there is neither reader nor run.
    quiet: Option<Duration>,
    /// How long the newest finished turn is kept.
    pub retained: Option<Duration>,
    /// The [`Effect::WakeAt`](super::Effect::WakeAt) that holds.
    wake: Option<Duration>,
}

/// What is overdue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nobody has come for the run.
    Linger,
    /// Nobody has come for the conversation.
    Idle,
}

impl Life {
    /// Counts a reader that joins, or says how long it is to wait.
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

    /// A turn is over.
    pub(super) fn retain(&mut self, settings: &Settings) {
        self.retained = Some(self.now + settings.retain);
    }

    /// Whether the newest finished turn is to be kept for who may come; forgets it when its time is over.
    pub(super) fn keeps(&mut self) -> bool {
        self.retained.take_if(|until| *until <= self.now);
        self.retained.is_some()
    }

    /// The time that was asked for has come.
    pub(super) fn wake(&mut self) {
        self.wake = None;
    }

    /// Notes who is there, after every input.
    pub(super) fn observe(&mut self, has_readers: bool, has_run: bool) {
        let now = self.now;
        let since = |when: &mut Option<Duration>, holds: bool| match holds {
            true => *when = when.or(Some(now)),
            false => *when = None,
        };
        since(&mut self.alone, !has_readers);
        since(&mut self.quiet, !has_readers && !has_run);
    }

    pub(super) fn due(&self, settings: &Settings) -> Option<Due> {
        if self.quiet.is_some_and(|quiet| quiet + settings.idle <= self.now) {
            return Some(Due::Idle);
        }
        let is_over = self.alone.is_some_and(|alone| alone + settings.linger <= self.now);
        (is_over && self.quiet.is_none()).then_some(Due::Linger)
    }

    /// When to come back, where that has changed.
    pub(super) fn wake_at(&mut self, settings: &Settings) -> Option<Option<Duration>> {
        let left = match (self.quiet, self.alone) {
            (Some(quiet), _) => Some(quiet + settings.idle),
            (None, Some(alone)) => Some(alone + settings.linger),
            (None, None) => None,
        };
        let at = [left, self.retained].into_iter().flatten().min();
        (at != self.wake).then(|| {
            self.wake = at;
            at
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // faults: A24
    #[test]
    fn ten_may_join_in_any_second() {
        let mut life = Life::default();
        let mut admitted = |ms: u64| {
            life.now = Duration::from_millis(ms);
            life.admit().map_err(|wait| wait.as_millis())
        };
        for at in 0..10 {
            assert_eq!(admitted(at * 50), Ok(()));
        }
        for _ in 0..100 {
            assert_eq!(admitted(500), Err(500), "who is refused does not make it longer");
        }
        assert_eq!(admitted(999), Err(1));
        assert_eq!(admitted(1_000), Ok(()));
        assert_eq!(admitted(1_000), Err(50));
        assert_eq!(admitted(60_000), Ok(()));
    }
}
