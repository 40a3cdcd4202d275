//! Questions that wait for the running answer, in order.
use crate::{
    chat::{ChatMessage, SubscriberId, TurnKind},
    protocol::Rejection,
};
use std::{collections::VecDeque, sync::Arc};

/// What a turn begins with.
#[derive(Debug)]
pub(super) enum PendingTurn {
    /// Of a plain conversation.
    Plain(String),
    Named {
        kind: TurnKind,
        message: ChatMessage,
        /// `None`: the default one.
        model: Option<Arc<str>>,
    },
}

/// Names a question while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueTicket(u32);

#[derive(Debug)]
pub(super) struct QueueEntry {
    pub ticket: QueueTicket,
    pub from: SubscriberId,
    pub question: PendingTurn,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<QueueEntry>,
    tickets: u32,
}

impl Queue {
    /// Takes a question, or refuses it when `limit` are waiting.
    pub(super) fn push(
        &mut self,
        from: SubscriberId,
        question: PendingTurn,
        limit: usize,
    ) -> Result<QueueTicket, Rejection> {
        if self.waiting.len() >= limit {
            return Err(Rejection::QueueFull { limit });
        }
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = QueueTicket(self.tickets);
        self.waiting.push_back(QueueEntry { ticket, from, question });
        Ok(ticket)
    }

    pub(super) fn pop(&mut self) -> Option<QueueEntry> {
        let next = self.waiting.pop_front();
        self.give_room_back();
        next
    }

    /// Takes a question back.
    pub(super) fn remove(&mut self, ticket: QueueTicket) {
        self.waiting.retain(|waiting| waiting.ticket != ticket);
        self.give_room_back();
    }

    pub(super) fn clear(&mut self) {
        self.waiting = VecDeque::new();
    }

    /// Most conversations never have a question that waits, and one at rest keeps no room for them.
    fn give_room_back(&mut self) {
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }

    /// The position of a question, counting from 1.
    pub(super) fn position(&self, ticket: QueueTicket) -> Option<u32> {
        let at = self.waiting.iter().position(|waiting| waiting.ticket == ticket)?;
        Some(at as u32 + 1)
    }

    /// Bytes held.
    pub(super) fn capacity(&self) -> usize {
        let each = |waiting: &QueueEntry| match &waiting.question {
            PendingTurn::Plain(text) => text.capacity(),
            PendingTurn::Named { message, .. } => message.text.len() + message.id.as_str().len(),
        };
        self.waiting.iter().map(each).sum::<usize>() + self.waiting.capacity() * size_of::<QueueEntry>()
    }

    pub(super) fn find(&self, wanted: impl Fn(&PendingTurn) -> bool) -> Option<QueueTicket> {
        self.waiting.iter().find(|waiting| wanted(&waiting.question)).map(|waiting| waiting.ticket)
    }
}
