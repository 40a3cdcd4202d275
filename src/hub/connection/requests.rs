//! The requests of one socket, each of them a reader of its chat's session.
use super::{Connection, Consumer, Released};
use crate::{
    chat::{ChatId, ChatKey, ReaderId, RequestId, SessionId},
    hub::{
        bad_frames::Strikes,
        chat_table::NoRoom,
        messages::{Bounced, Join, Letter, Wish},
        session_actor::{Abort, Detach, SessionActor},
    },
    lifecycle::Phase,
    protocol::{Codec, Rejection, ServerFrame},
    socket::context::SocketContext,
};
use actix::prelude::*;
use std::collections::HashMap;

/// How often a letter may come back from a session that is just ending.
const RETURNS_MAX: u8 = 3;

/// What a socket has that asked for something, or was not understood.
#[derive(Default)]
pub(super) struct Requests {
    open: HashMap<RequestId, Open>,
    strikes: Strikes,
}

/// Where a request was sent.
struct Open {
    reader: ReaderId,
    session: Addr<SessionActor>,
    /// The client has stopped it.
    stopped: bool,
}

impl Connection {
    pub(super) fn on_request(
        &mut self,
        ctx: &mut SocketContext<Self>,
        codec: Codec,
        request: RequestId,
        chat: ChatId,
        wish: Wish,
    ) {
        let limit = self.worker.settings.requests;
        let refusal = match &self.requests {
            Some(requests) if requests.open.contains_key(&request) => Some(Rejection::DuplicateRequest),
            Some(requests) if requests.open.len() >= limit => Some(Rejection::TooManyRequests { limit }),
            _ => None,
        };
        if let Some(reason) = refusal {
            return self.refuse(ctx, codec, Some(&request), reason);
        }
        let account = match wish.bytes().map(|bytes| self.take_memory(bytes)).transpose() {
            Ok(account) => account,
            Err(reason) => return self.refuse(ctx, codec, Some(&request), reason),
        };
        let (window, line) = self.output(ctx);
        self.worker.lines.borrow_mut().entry(self.id).or_insert(line);
        let letter = Letter {
            reader: ReaderId(fastrand::u64(..)),
            request,
            chat,
            wish,
            source: self.pass.source(),
            account,
            codec,
            connection: ctx.address(),
            id: self.id,
            worker: self.worker.index,
            window,
            returns: 0,
        };
        self.deliver(ctx, Box::new(letter));
    }

    /// Sends a letter to the session of its chat. Only a question makes one, and not while we are leaving.
    fn deliver(&mut self, ctx: &mut SocketContext<Self>, letter: Box<Letter>) {
        let key = ChatKey { principal: self.pass.principal(), chat: letter.chat.clone() };
        let registry = &self.worker.registry;
        let may_begin =
            matches!(letter.wish, Wish::Ask(_)) && self.worker.lifecycle.phase() < Phase::Draining;
        let session = if may_begin {
            let id = SessionId(fastrand::u64(..));
            let make = |key| SessionActor::begin_chat(&self.worker, id, self.pass.source(), key);
            match registry.chat_or_make(key, id, self.pass.source(), make) {
                Ok(session) => Some(session),
                Err(NoRoom) => {
                    let reason = Rejection::TooManyChats;
                    return self.refuse(ctx, letter.codec, Some(&letter.request), reason);
                }
            }
        } else {
            registry.send_to(&key)
        };
        let Some(session) = session else {
            return match letter.wish.without_session() {
                ServerFrame::Rejected { reason } => {
                    self.refuse(ctx, letter.codec, Some(&letter.request), reason)
                }
                word => {
                    self.worker.metrics.resumes.inc("no_active");
                    Self::tell(ctx, letter.codec, Some(&letter.request), &word);
                }
            };
        };
        let open = Open { reader: letter.reader, session: session.clone(), stopped: false };
        self.requests.get_or_insert_default().open.insert(letter.request.clone(), open);
        // The address is new, so it has a place of its own in the mailbox. What is dropped comes back.
        drop(session.try_send(Join::new(letter)));
    }

    pub(super) fn on_abort(&mut self, request: &RequestId) {
        let open = self.requests.as_mut().and_then(|requests| requests.open.get_mut(request));
        if let Some(open) = open.filter(|open| !open.stopped) {
            open.stopped = true;
            let _ = open.session.clone().try_send(Abort { reader: open.reader });
        }
    }

    /// Takes the request of a reader out.
    fn forget(&mut self, reader: ReaderId) -> Option<(RequestId, Open)> {
        let requests = self.requests.as_mut()?;
        let request =
            requests.open.iter().find(|(_, open)| open.reader == reader).map(|(id, _)| id.clone())?;
        let entry = requests.open.remove_entry(&request);
        if requests.open.is_empty() && requests.strikes.is_clean() {
            self.requests = None;
        }
        entry
    }

    /// Something is asked for and not yet answered.
    pub(super) fn has_requests(&self) -> bool {
        self.requests.as_ref().is_some_and(|requests| !requests.open.is_empty())
    }

    /// A frame could not be read; true: it was one too many.
    pub(super) fn strike(&mut self) -> bool {
        self.requests.get_or_insert_default().strikes.strike(self.worker.ticks())
    }

    pub(super) fn lose_request(&mut self, ctx: &mut SocketContext<Self>, reader: ReaderId) {
        let Consumer::Session(codec) = self.consumer else { return };
        if let Some((request, _)) = self.forget(reader) {
            self.refuse(ctx, codec, Some(&request), Rejection::Unavailable);
        }
    }

    /// The socket is gone: nobody reads any more.
    pub(super) fn leave_chats(&mut self) {
        self.worker.lines.borrow_mut().remove(&self.id);
        for open in self.requests.take().into_iter().flat_map(|requests| requests.open.into_values()) {
            // A new address has a place of its own in the mailbox: this is never refused.
            let _ = open.session.clone().try_send(Detach { reader: open.reader });
        }
    }
}

impl Handler<Released> for Connection {
    type Result = ();

    fn handle(&mut self, Released { reader }: Released, _: &mut Self::Context) {
        self.forget(reader);
    }
}

impl Handler<Bounced> for Connection {
    type Result = ();

    fn handle(&mut self, Bounced(mut letter): Bounced, ctx: &mut Self::Context) {
        let Some((_, open)) = self.forget(letter.reader) else { return };
        letter.returns += 1;
        if letter.returns > RETURNS_MAX {
            self.refuse(ctx, letter.codec, Some(&letter.request), Rejection::Unavailable);
        } else if !open.stopped {
            self.deliver(ctx, letter);
        }
    }
}
