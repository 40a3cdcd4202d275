//! A request on its way to the session of its chat. One that the session does not take, because it is
//! just ending, comes back.
use super::{connection::Connection, subscriber::Outlet};
use crate::{
    chat::{ChatId, MessageId, ReaderId, RequestId, Source, TurnRequest},
    memory::Account,
    protocol::{Codec, ServerFrame},
    session::Input,
    socket::{direct::Line, window::Window},
};
use actix::prelude::*;
use std::sync::Arc;

/// What a request wants of its chat.
pub enum Wish {
    Ask(Box<TurnRequest>),
    Resume { turn: Option<MessageId>, after: Option<u32> },
}

impl Wish {
    /// Bytes of text in a question.
    pub(super) fn bytes(&self) -> Option<usize> {
        match self {
            Wish::Ask(turn) => {
                let before = turn.transcript.iter().map(|past| past.text.len());
                Some(turn.message.text.len() + before.sum::<usize>())
            }
            Wish::Resume { .. } => None,
        }
    }

    pub(super) fn input(self, reader: ReaderId) -> Input {
        match self {
            Wish::Ask(turn) => Input::Ask { reader, turn },
            Wish::Resume { turn, after } => Input::Resume { reader, turn, after },
        }
    }

    /// What is said of it where there is no session, and none is made.
    pub(super) fn without_session(&self) -> ServerFrame {
        match self {
            Wish::Ask(_) => ServerFrame::Rejected { reason: crate::protocol::Rejection::Draining },
            Wish::Resume { .. } => ServerFrame::NoActive,
        }
    }
}

/// A request, and the way back to who made it.
pub struct Letter {
    pub reader: ReaderId,
    pub request: RequestId,
    pub chat: ChatId,
    pub wish: Wish,
    pub source: Source,
    /// The memory for an answer.
    pub account: Option<Account<1>>,
    pub codec: Codec,
    pub connection: Addr<Connection>,
    /// Of the connection: its number and its thread, which lead to its line.
    pub id: u64,
    pub worker: usize,
    pub window: Arc<Window>,
    /// How often it came back.
    pub returns: u8,
}

impl Letter {
    /// The way to the reader, and what it wants. `line` finds a line of this thread by its number.
    pub(super) fn open(self, line: impl FnOnce(usize, u64) -> Option<std::rc::Rc<Line>>) -> (Outlet, Input) {
        let line = line(self.worker, self.id);
        let encoder = self.codec.encoder(Some(&self.request));
        (Outlet::new(self.connection, self.window, line, encoder), self.wish.input(self.reader))
    }
}

/// A letter in a session's mailbox. Dropped there, it goes back.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Join(Option<Box<Letter>>);

impl Join {
    pub fn new(letter: Box<Letter>) -> Self {
        Join(Some(letter))
    }

    pub(super) fn take(mut self) -> Option<Box<Letter>> {
        self.0.take()
    }
}

impl Drop for Join {
    fn drop(&mut self) {
        if let Some(letter) = self.0.take() {
            // A new address has a place of its own in the mailbox: this is never refused.
            let connection = letter.connection.clone();
            let _ = connection.try_send(Bounced(letter));
        }
    }
}

/// A letter that no session took.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Bounced(pub Box<Letter>);
