//! How often a faulty message was already asked, so that a fault can end after `times` requests.
use std::collections::{HashMap, VecDeque};

/// Counts by message, at most [`Times::MESSAGES_MAX`] of them; the oldest is forgotten first, so
/// a forgotten message begins anew.
#[derive(Debug, Default)]
pub struct Times {
    counts: HashMap<String, u64>,
    order: VecDeque<String>,
}

impl Times {
    /// How many messages are remembered.
    pub const MESSAGES_MAX: usize = 1024;

    /// Counts one request; true while the fault still holds.
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
