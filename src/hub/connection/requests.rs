//! The requests of one socket; each is a subscriber of its chat's session.
use super::Connection;
use crate::{
    chat::{ChatId, ChatKey, RequestId, SessionId, SubscriberId},
    hub::{
        bad_frames::BadFrameCounter,
        chat_table::NoRoom,
        messages::{Attach, AttachKind, AttachRequest, SessionHandle, SessionMessage},
        session_actor::SessionActor,
    },
    lifecycle::Phase,
    protocol::{Codec, Rejection, ServerFrame},
    socket::context::SocketContext,
};
use std::{collections::HashMap, sync::Arc};

/// 128 random bits from the operating system: names of stored answers are derived from it.
fn new_session_id() -> Result<SessionId, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(SessionId(u128::from_ne_bytes(bytes)))
}

/// Times that a request may be returned by an ending session; then it is rejected.
const RETURNS_MAX: u8 = 3;

/// Open requests and bad frames of one socket.
#[derive(Default)]
pub(super) struct Requests {
    open: HashMap<RequestId, Open>,
    bad_frames: BadFrameCounter,
}

/// An open request and its session.
pub(super) struct Open {
    subscriber: SubscriberId,
    session: SessionHandle,
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
        kind: AttachKind,
    ) {
        let limit = self.connections.worker.settings.requests;
        let refusal = match &self.requests {
            Some(requests) if requests.open.contains_key(&request) => Some(Rejection::DuplicateRequest),
            Some(requests) if requests.open.len() >= limit => Some(Rejection::TooManyRequests { limit }),
            _ => None,
        };
        if let Some(reason) = refusal {
            return self.reject(ctx, codec, Some(&request), reason);
        }
        let account = match kind.bytes().map(|bytes| self.take_memory(bytes)).transpose() {
            Ok(account) => account,
            Err(reason) => return self.reject(ctx, codec, Some(&request), reason),
        };
        let (sink, direct) = self.sink(ctx);
        self.connections.worker.direct_writers.borrow_mut().entry(self.id).or_insert(direct);
        let request = AttachRequest {
            subscriber: SubscriberId(fastrand::u64(..)),
            request,
            chat,
            kind,
            pass: Arc::clone(&self.pass),
            account,
            codec,
            sink,
            returns: 0,
        };
        self.deliver(ctx, Box::new(request));
    }

    /// Sends a request to the session of its chat. Only a question whose choice is accepted starts a session, and not during
    /// the drain.
    fn deliver(&mut self, ctx: &mut SocketContext<Self>, request: Box<AttachRequest>) {
        let key = ChatKey { principal: self.pass.principal(), chat: request.chat.clone() };
        let registry = &self.connections.worker.registry;
        let may_begin = matches!(request.kind, AttachKind::Ask { chosen: Ok(_), .. })
            && self.connections.worker.lifecycle.phase() < Phase::Draining;
        let session = if may_begin {
            let Ok(id) = new_session_id() else {
                log::error!("the operating system has no randomness for a session");
                return self.reject(ctx, request.codec, Some(&request.request), Rejection::Unavailable);
            };
            let make = |key| {
                let pass = Arc::clone(&self.pass);
                SessionActor::begin_chat(&self.connections.worker, id, pass, key)
            };
            match registry.chat_or_make(key, id, self.pass.source(), make) {
                Ok(session) => Some(session),
                Err(NoRoom) => {
                    let reason = Rejection::TooManyChats;
                    return self.reject(ctx, request.codec, Some(&request.request), reason);
                }
            }
        } else {
            registry.send_to(&key)
        };
        let Some(session) = session else {
            return match request.kind.without_session() {
                ServerFrame::Rejected { reason } => {
                    self.reject(ctx, request.codec, Some(&request.request), reason)
                }
                frame => {
                    self.connections.worker.metrics.resumes.inc("no_active");
                    Self::reply(ctx, request.codec, Some(&request.request), &frame);
                }
            };
        };
        let open = Open { subscriber: request.subscriber, session: session.clone(), stopped: false };
        self.requests.get_or_insert_default().open.insert(request.request.clone(), open);
        session.notify(SessionMessage::Attach(Attach::new(request)));
    }

    pub(super) fn on_stop(&mut self, request: &RequestId) {
        let open = self.requests.as_mut().and_then(|requests| requests.open.get_mut(request));
        if let Some(open) = open.filter(|open| !open.stopped) {
            open.stopped = true;
            open.session.notify(SessionMessage::Stop { subscriber: open.subscriber });
        }
    }

    /// Removes the request of a subscriber.
    pub(super) fn forget(&mut self, subscriber: SubscriberId) -> Option<(RequestId, Open)> {
        let requests = self.requests.as_mut()?;
        let request =
            requests.open.iter().find(|(_, open)| open.subscriber == subscriber).map(|(id, _)| id.clone())?;
        let entry = requests.open.remove_entry(&request);
        if requests.open.is_empty() && requests.bad_frames.is_clean() {
            self.requests = None;
        }
        entry
    }

    /// Whether a request is open.
    pub(super) fn has_requests(&self) -> bool {
        self.requests.as_ref().is_some_and(|requests| !requests.open.is_empty())
    }

    /// Counts an unreadable frame; true if the connection must be closed.
    pub(super) fn count_bad_frame(&mut self) -> bool {
        self.requests.get_or_insert_default().bad_frames.add(self.connections.worker.clock.ticks())
    }

    pub(super) fn lose_request(&mut self, ctx: &mut SocketContext<Self>, subscriber: SubscriberId) {
        if let Some((request, _)) = self.forget(subscriber) {
            self.reject(ctx, self.codec, Some(&request), Rejection::Unavailable);
        }
    }

    /// Detaches from all chats, because the socket is closed.
    pub(super) fn leave_chats(&mut self) {
        self.connections.worker.direct_writers.borrow_mut().remove(&self.id);
        for open in self.requests.take().into_iter().flat_map(|requests| requests.open.into_values()) {
            open.session.notify(SessionMessage::Detach { subscriber: open.subscriber });
        }
    }

    /// A session returned a request because it was ending: tries again, with a new session if need be.
    pub(super) fn on_returned(&mut self, ctx: &mut SocketContext<Self>, mut request: Box<AttachRequest>) {
        let Some((_, open)) = self.forget(request.subscriber) else { return };
        request.returns += 1;
        if request.returns > RETURNS_MAX {
            self.reject(ctx, request.codec, Some(&request.request), Rejection::Unavailable);
        } else if !open.stopped {
            self.deliver(ctx, request);
        }
    }
}
