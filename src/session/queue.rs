//! Messages that wait for the running answer, in order.
use crate::{chat::ReaderId, protocol::Refusal};
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<(ReaderId, String)>,
}

impl Queue {
    /// Takes a message, or refuses it when `limit` are waiting.
    pub(super) fn push(&mut self, reader: ReaderId, text: String, limit: usize) -> Result<(), Refusal> {
        if self.waiting.len() >= limit {
            return Err(Refusal::QueueFull { limit });
        }
        self.waiting.push_back((reader, text));
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<String> {
        self.pop_with_reader().map(|(_, text)| text)
    }

    /// The next message and who sent it.
    pub(super) fn pop_with_reader(&mut self) -> Option<(ReaderId, String)> {
        self.waiting.pop_front()
    }
}
