//! How long an upstream takes to the first text.
use std::time::Duration;

/// The latest times to the first text of an upstream, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstTokens {
    times: [u32; FirstTokens::MAX],
    /// How many were added so far.
    added: usize,
}

impl Default for FirstTokens {
    fn default() -> Self {
        FirstTokens { times: [0; FirstTokens::MAX], added: 0 }
    }
}

impl FirstTokens {
    /// How many count; the oldest is replaced.
    const MAX: usize = 33;

    pub(super) fn add(&mut self, time: Duration) {
        self.times[self.added % Self::MAX] = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        self.added = self.added.wrapping_add(1);
    }

    pub(super) fn median(&self) -> Option<Duration> {
        let mut times = self.times;
        let known = &mut times[..self.added.min(Self::MAX)];
        known.sort_unstable();
        known.get(known.len() / 2).map(|time| Duration::from_millis(u64::from(*time)))
    }
}
