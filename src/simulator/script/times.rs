//! Counts requests by message, so that a fault can end.
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// Counts by message, at most [`Times::MESSAGES_MAX`] of them; beyond that the oldest is forgotten, and
/// starts again from zero.
#[derive(Debug, Default)]
pub struct Times {
    counts: HashMap<String, Count>,
    order: VecDeque<String>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    requests: u64,
    /// When the first one came.
    since: Duration,
}

impl Times {
    /// Maximum number of messages remembered.
    pub const MESSAGES_MAX: usize = 1024;

    /// Counts one request, and returns whether a fault still applies that ends after a number of requests, or
    /// some time after the first.
    pub fn is_faulty(
        &mut self,
        message: &str,
        now: Duration,
        times: Option<u64>,
        lasts: Option<Duration>,
    ) -> bool {
        if !self.counts.contains_key(message) {
            if self.order.len() == Self::MESSAGES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.counts.remove(&oldest);
            }
            self.order.push_back(message.to_owned());
        }
        let count = self.counts.entry(message.to_owned()).or_insert(Count { requests: 0, since: now });
        count.requests += 1;
        times.is_none_or(|times| count.requests <= times)
            && lasts.is_none_or(|lasts| now.saturating_sub(count.since) < lasts)
    }
}
