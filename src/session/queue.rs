//! Turns that wait until the running one has ended, in order.
use crate::{
    chat::{ChatMessage, Chosen, MessageId, SubscriberId, TurnKind},
    protocol::Rejection,
};
use std::collections::VecDeque;

/// A turn that has not started.
#[derive(Debug)]
pub(super) enum PendingTurn {
    /// A message of a plain conversation.
    Plain(String),
    Named {
        kind: TurnKind,
        message: ChatMessage,
    },
}

/// Identifies a queued turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueTicket(u32);

#[derive(Debug)]
pub(super) struct QueueEntry {
    pub ticket: QueueTicket,
    pub from: SubscriberId,
    pub turn: PendingTurn,
    pub chosen: Chosen,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<QueueEntry>,
    tickets: u32,
}

impl Queue {
    /// Appends a turn, or rejects it when `limit` turns are queued.
    pub(super) fn push(
        &mut self,
        from: SubscriberId,
        turn: PendingTurn,
        chosen: Chosen,
        limit: usize,
    ) -> Result<QueueTicket, Rejection> {
        if self.entries.len() >= limit {
            return Err(Rejection::QueueFull { limit });
        }
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = QueueTicket(self.tickets);
        self.entries.push_back(QueueEntry { ticket, from, turn, chosen });
        Ok(ticket)
    }

    pub(super) fn pop(&mut self) -> Option<QueueEntry> {
        let next = self.entries.pop_front();
        self.shrink();
        next
    }

    /// Removes a turn.
    pub(super) fn remove(&mut self, ticket: QueueTicket) {
        self.entries.retain(|entry| entry.ticket != ticket);
        self.shrink();
    }

    pub(super) fn clear(&mut self) {
        self.entries = VecDeque::new();
    }

    /// Frees the memory of an empty queue: most sessions never queue a turn again.
    fn shrink(&mut self) {
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }

    /// The position of a turn, counting from 1.
    pub(super) fn position(&self, ticket: QueueTicket) -> Option<u32> {
        let at = self.entries.iter().position(|entry| entry.ticket == ticket)?;
        Some(at as u32 + 1)
    }

    /// Allocated bytes.
    pub(super) fn capacity(&self) -> usize {
        let each = |entry: &QueueEntry| match &entry.turn {
            PendingTurn::Plain(text) => text.capacity(),
            PendingTurn::Named { message, .. } => message.text.len() + message.id.as_str().len(),
        };
        self.entries.iter().map(each).sum::<usize>() + self.entries.capacity() * size_of::<QueueEntry>()
    }

    /// The last turn whose question has this ID.
    pub(super) fn find_named(&self, id: &MessageId) -> Option<QueueTicket> {
        let is_named = |turn: &PendingTurn| match turn {
            PendingTurn::Named { message, .. } => message.id == *id,
            PendingTurn::Plain(_) => false,
        };
        self.entries.iter().rfind(|entry| is_named(&entry.turn)).map(|entry| entry.ticket)
    }

    pub(super) fn find(&self, wanted: impl Fn(&PendingTurn) -> bool) -> Option<QueueTicket> {
        self.entries.iter().find(|entry| wanted(&entry.turn)).map(|entry| entry.ticket)
    }
}
