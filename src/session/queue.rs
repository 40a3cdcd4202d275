//! Questions that wait for the running answer, in order.
use crate::{
    chat::{ChatMessage, ReaderId, TurnKind},
    protocol::Rejection,
};
use std::collections::VecDeque;

/// What a turn begins with.
#[derive(Debug)]
pub(super) enum Question {
    /// Of a plain conversation.
    Plain(String),
    Named {
        kind: TurnKind,
        message: ChatMessage,
    },
}

/// Names a question while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u32);

#[derive(Debug)]
pub(super) struct Waiting {
    pub ticket: Ticket,
    pub from: ReaderId,
    pub question: Question,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    tickets: u32,
}

impl Queue {
    /// Takes a question, or refuses it when `limit` are waiting.
    pub(super) fn push(
        &mut self,
        from: ReaderId,
        question: Question,
        limit: usize,
    ) -> Result<Ticket, Rejection> {
        if self.waiting.len() >= limit {
            return Err(Rejection::QueueFull { limit });
        }
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = Ticket(self.tickets);
        self.waiting.push_back(Waiting { ticket, from, question });
        Ok(ticket)
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let next = self.waiting.pop_front();
        self.give_room_back();
        next
    }

    /// Takes a question back.
    pub(super) fn remove(&mut self, ticket: Ticket) {
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
    pub(super) fn position(&self, ticket: Ticket) -> Option<u32> {
        let at = self.waiting.iter().position(|waiting| waiting.ticket == ticket)?;
        Some(at as u32 + 1)
    }

    /// Bytes held.
    pub(super) fn capacity(&self) -> usize {
        let each = |waiting: &Waiting| match &waiting.question {
            Question::Plain(text) => text.capacity(),
            Question::Named { message, .. } => message.text.len() + message.id.as_str().len(),
        };
        self.waiting.iter().map(each).sum::<usize>() + self.waiting.capacity() * size_of::<Waiting>()
    }

    pub(super) fn find(&self, wanted: impl Fn(&Question) -> bool) -> Option<Ticket> {
        self.waiting.iter().find(|waiting| wanted(&waiting.question)).map(|waiting| waiting.ticket)
    }
}
