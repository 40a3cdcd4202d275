//! Counts requests by message, so that a fault can end after `times` requests.
use std::collections::{HashMap, VecDeque};

/// Counts by message, at most [`Times::MESSAGES_MAX`] of them; beyond that the oldest is forgotten, and
/// starts again from zero.
#[derive(Debug, Default)]
pub struct Times {
    counts: HashMap<String, u64>,
    order: VecDeque<String>,
}

impl Times {
    /// Maximum number of messages remembered.
    pub const MESSAGES_MAX: usize = 1024;

    /// Counts one request and returns whether the fault still applies.
    pub fn is_faulty(&mut self, message: &str, times: u64) -> bool {
        if let Some(count) = self.counts.get_mut(message) {
            *count += 1;
            return *count <= times;
        }
        if self.order.len() == Self::MESSAGES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
        }
        self.counts.insert(message.to_owned(), 1);
        self.order.push_back(message.to_owned());
        times >= 1
    }
}
