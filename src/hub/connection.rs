//! The actor of one WebSocket: decodes frames into requests and writes what sessions send.
mod requests;

use super::{
    messages::{AttachKind, ConnectionSignal, Push, SessionHandle, SessionMessage, Sink, SocketKey},
    session_actor::SessionActor,
    subscriber::Subscriber,
    worker::Worker,
};
use crate::{
    access::Pass,
    chat::{Choice, Chosen, RequestId, SubscriberId},
    dispatch::STREAM_BYTES,
    mailbox,
    memory::{Account, Kind},
    metrics::LOST,
    protocol::{ClientFrame, Close, Codec, DecodeError, Incoming, Rejection, ServerFrame},
    socket::{
        context::SocketContext,
        direct::DirectWriter,
        handler::{Message, SocketHandler},
        peer_progress::{self, Progress},
    },
    worker_clock::TICK,
};
use actix::{WeakAddr, prelude::*};
use requests::Requests;
use slab::Slab;
use std::{cell::RefCell, rc::Rc, sync::Arc};
use tokio::net::TcpStream;

/// Slot of a connection whose actor has not started.
const SLOT_NONE: u32 = u32::MAX;

/// About 1.3 KB with its task and socket while idle. State that only a conversation needs is behind
/// `session`; state that only an incomplete message needs is in the frame stream.
pub struct Connection {
    connections: Rc<Connections>,
    io: Rc<TcpStream>,
    id: u64,
    codec: Codec,
    pass: Arc<Pass>,
    /// What the client chose for all of its messages; boxed, because few clients do.
    choice: Option<Box<Choice>>,
    slot: u32,
    opened: u32,
    /// When the last frame arrived, in ticks.
    last_frame: u32,
    messages: u32,
    session: Option<Box<Attached>>,
    /// Open requests and counted bad frames, while there are any.
    requests: Option<Box<Requests>>,
    /// The last probe of a peer that has not answered a ping.
    unanswered_ping: Option<Box<Progress>>,
    /// Why it was closed; `None` while it is open and when the socket was lost.
    reason: Option<Close>,
}

/// This connection's own session, and its subscription.
struct Attached {
    session: SessionHandle,
    subscriber: SubscriberId,
}

/// All connections of one worker, and their shared state.
pub struct Connections {
    pub worker: Rc<Worker>,
    /// A weak address takes eight bytes and does not keep the actor alive.
    addresses: RefCell<Slab<WeakAddr<Connection>>>,
}

impl Connections {
    pub fn new(worker: Rc<Worker>) -> Rc<Self> {
        Rc::new(Connections { worker, addresses: RefCell::default() })
    }

    pub(super) fn len(&self) -> usize {
        self.addresses.borrow().len()
    }

    /// Signals the connections whose slot `which` selects.
    pub(super) fn signal(&self, signal: ConnectionSignal, which: impl Fn(usize) -> bool) {
        let addresses = self.addresses.borrow();
        for (_, address) in addresses.iter().filter(|(slot, _)| which(*slot)) {
            if let Some(connection) = address.upgrade() {
                mailbox::notify(&connection, signal);
            }
        }
    }
}

impl Connection {
    /// `slot` is set when the actor starts.
    pub fn new(
        connections: Rc<Connections>,
        io: Rc<TcpStream>,
        id: u64,
        codec: Codec,
        pass: Arc<Pass>,
        choice: Option<Box<Choice>>,
    ) -> Self {
        let now = connections.worker.clock.ticks();
        Connection {
            connections,
            io,
            id,
            codec,
            pass,
            choice,
            slot: SLOT_NONE,
            opened: now,
            last_frame: now,
            messages: 0,
            session: None,
            requests: None,
            unanswered_ping: None,
            reason: None,
        }
    }

    fn close(&mut self, ctx: &mut SocketContext<Self>, close: Close) {
        self.reason = Some(close);
        ctx.close(close);
    }

    /// Whether the peer has timed out: no frame arrived for too long, and it does not read either. A slow
    /// peer must read everything ahead of a ping before it can answer it.
    fn is_lost(&mut self) -> bool {
        let settings = &self.connections.worker.settings;
        let silent = TICK * self.connections.worker.clock.ticks_since(self.last_frame);
        // Within a frame a client cannot answer a ping; progress of the payload counts instead.
        let upload = self.connections.worker.sockets.uploads.grew(self.id, self.connections.worker.now());
        let upload = upload.map(|grew| self.connections.worker.now().saturating_sub(grew));
        let silent = upload.map_or(silent, |upload| silent.min(upload));
        if silent <= settings.ping {
            self.unanswered_ping = None; // The usual case: the last ping was answered.
            return false;
        }
        let seen = peer_progress::probe(&self.io);
        let reads = match (&seen, &self.unanswered_ping) {
            (Some(now), Some(earlier)) => now.shows_reading_since(earlier),
            _ => false,
        };
        self.unanswered_ping = seen.map(Box::new);
        if reads {
            self.last_frame = self.connections.worker.clock.ticks();
        }
        !reads && silent > settings.silence
    }

    fn on_incoming(&mut self, ctx: &mut SocketContext<Self>, incoming: Incoming<'_>) {
        let codec = self.codec;
        match codec.decode(incoming, self.connections.worker.settings.messages) {
            Ok(ClientFrame::Message { text }) => self.on_own_message(ctx, codec, text),
            Ok(ClientFrame::Ask { request, chat, turn, choice }) => {
                let chosen = self.choose(&choice);
                self.on_request(ctx, codec, request, chat, AttachKind::Ask { turn, chosen })
            }
            Ok(ClientFrame::Resume { request, chat, turn, after }) => {
                self.on_request(ctx, codec, request, chat, AttachKind::Resume { turn, after })
            }
            Ok(ClientFrame::Continue { request, chat, answer, choice }) => {
                let catalog = self.connections.worker.models.now();
                self.on_request(ctx, codec, request, chat, AttachKind::Continue { answer, choice, catalog })
            }
            Ok(ClientFrame::Abort { request }) => self.on_stop(&request),
            Ok(ClientFrame::Ping { request }) => {
                Self::reply(ctx, codec, request.as_ref(), &ServerFrame::Pong)
            }
            Err(DecodeError { request, reason }) => {
                let is_unreadable = reason.is_unreadable();
                self.reject(ctx, codec, request.as_ref(), reason);
                if is_unreadable && self.count_bad_frame() {
                    self.close(ctx, Close::Unreadable);
                }
            }
        }
    }

    /// Handles a message of a socket with a single conversation.
    fn on_own_message(&mut self, ctx: &mut SocketContext<Self>, codec: Codec, text: String) {
        let chosen = self.choose(self.choice.as_deref().unwrap_or(&Choice::default()));
        let (chosen, account) = match chosen.and_then(|chosen| Ok((chosen, self.take_memory(text.len())?))) {
            Ok(taken) => taken,
            Err(reason) => return self.reject(ctx, codec, None, reason),
        };
        let (session, subscriber) = self.attach(ctx, codec);
        match session.try_send(SessionMessage::Message { subscriber, text, chosen, account }) {
            Ok(()) => {}
            // Nothing is lost: the socket is not read until the session has room.
            Err(SendError::Full(message)) => {
                let sent = session.send(message).into_actor(self);
                ctx.wait(sent.map(|sent, this, ctx| {
                    if sent.is_err() {
                        this.close(ctx, Close::Internal);
                    }
                }));
            }
            Err(SendError::Closed(_)) => self.close(ctx, Close::Internal),
        }
    }

    /// The model of a message and its parameters, of what is on offer at this moment.
    fn choose(&self, choice: &Choice) -> Result<Chosen, Rejection> {
        self.connections.worker.models.now().choose(choice).map_err(Rejection::from)
    }

    /// Reserves memory for the answer to a question before the question is kept: thousands of questions may
    /// be read before the first of their sessions runs.
    fn take_memory(&self, bytes: usize) -> Result<Account<1>, Rejection> {
        let memory = &self.connections.worker.memory;
        if let Some(after) = memory.refuses(self.pass.source()) {
            // Jitter, so that clients do not retry together.
            return Err(Rejection::Overloaded { after: after.mul_f64(1.0 + fastrand::f64()) });
        }
        let mut account = Account::new(memory, self.pass.source(), [Kind::Requests]);
        account.set(0, STREAM_BYTES + bytes);
        Ok(account)
    }

    /// Sends a frame of the connection itself, not of a session.
    fn reply(ctx: &mut SocketContext<Self>, codec: Codec, request: Option<&RequestId>, frame: &ServerFrame) {
        codec.encoder(request).encode(frame, |text| ctx.text(text));
    }

    fn reject(
        &self,
        ctx: &mut SocketContext<Self>,
        codec: Codec,
        request: Option<&RequestId>,
        reason: Rejection,
    ) {
        self.connections.worker.metrics.messages_rejected.inc(reason.code());
        Self::reply(ctx, codec, request, &ServerFrame::Rejected { reason });
    }

    /// The session of this socket, started by its first message.
    fn attach(&mut self, ctx: &mut SocketContext<Self>, codec: Codec) -> (SessionHandle, SubscriberId) {
        if self.session.is_none() {
            let id = SubscriberId(self.id);
            let (sink, direct) = self.sink(ctx);
            let subscriber = Subscriber::new(sink, Some(direct), codec.encoder(None));
            let worker = &self.connections.worker;
            let session = SessionActor::begin(worker, self.id, Arc::clone(&self.pass), id, subscriber);
            self.session = Some(Box::new(Attached { session, subscriber: id }));
        }
        let Some(attached) = &self.session else { unreachable!("it was made just now") };
        (attached.session.clone(), attached.subscriber)
    }

    /// The sink for sessions of any thread, and the direct writer for those of this thread.
    fn sink(&self, ctx: &mut SocketContext<Self>) -> (Sink, Rc<DirectWriter>) {
        let (window, direct) = ctx.output(|window| {
            let queue = Rc::clone(&self.connections.worker.sockets.queue);
            DirectWriter::new(Rc::clone(&self.io), window, queue)
        });
        let socket = SocketKey { worker: self.connections.worker.index, connection: self.id };
        (Sink { recipient: ctx.address().recipient(), window, socket: Some(socket) }, direct)
    }
}

impl Actor for Connection {
    type Context = SocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let slot = self.connections.addresses.borrow_mut().insert(ctx.address().downgrade());
        self.slot = u32::try_from(slot).unwrap_or(SLOT_NONE); // Never that many sockets.
        self.connections.worker.metrics.connections.inc();
        self.connections.worker.metrics.connections_opened.inc();
    }

    fn stopped(&mut self, ctx: &mut Self::Context) {
        if let Some(cut) = ctx.cut() {
            self.reason = Some(cut);
        }
    }
}

/// Runs on every end of the socket, a panic included.
impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(attached) = self.session.take() {
            attached.session.notify(SessionMessage::Detach { subscriber: attached.subscriber });
        }
        self.leave_chats();
        if self.slot != SLOT_NONE {
            self.connections.addresses.borrow_mut().try_remove(self.slot as usize);
            self.connections.worker.metrics.connection_closed(self.reason);
        }
        let ticks = self.connections.worker.clock.ticks_since(self.opened);
        log::info!(
            connection:% = format_args!("{:016x}", self.id),
            reason = self.reason.map_or(LOST, Close::label),
            duration_ms = u64::from(ticks) * TICK.as_millis() as u64,
            messages = self.messages;
            "socket closed"
        );
    }
}

impl SocketHandler for Connection {
    fn on_message(&mut self, ctx: &mut SocketContext<Self>, message: Message<'_>) {
        self.messages = self.messages.saturating_add(1);
        self.connections.worker.metrics.messages.inc();
        let incoming = match message {
            Message::Text(text) => Incoming::Text(text),
            Message::Binary(_) => Incoming::Binary,
        };
        self.on_incoming(ctx, incoming);
    }

    fn on_frame(&mut self) {
        self.last_frame = self.connections.worker.clock.ticks();
    }

    fn on_close(&mut self, close: Close) {
        self.reason = Some(close);
    }
}

impl Handler<Push> for Connection {
    type Result = ();

    fn handle(&mut self, push: Push, ctx: &mut Self::Context) {
        match push {
            Push::Frames { bytes, close, cost } => {
                ctx.frames(&bytes);
                if let Some(close) = close {
                    self.close(ctx, close);
                }
                ctx.add_unflushed(cost);
            }
            Push::Finished { subscriber } => drop(self.forget(subscriber)),
            Push::Lost { subscriber } => {
                if self.session.take_if(|attached| attached.subscriber == subscriber).is_some() {
                    self.close(ctx, Close::Internal);
                } else {
                    self.lose_request(ctx, subscriber);
                }
            }
            Push::Returned(request) => self.on_returned(ctx, request),
        }
    }
}

impl Handler<ConnectionSignal> for Connection {
    type Result = ();

    fn handle(&mut self, signal: ConnectionSignal, ctx: &mut Self::Context) {
        match signal {
            ConnectionSignal::Heartbeat => {
                if self.is_lost() {
                    self.close(ctx, Close::Silent);
                } else {
                    ctx.ping();
                }
            }
            // A session closes its socket after its answer; a socket with requests closes after them.
            ConnectionSignal::Drain if self.session.is_none() && !self.has_requests() => {
                self.close(ctx, Close::Restart)
            }
            ConnectionSignal::Drain => {}
            ConnectionSignal::Close => self.close(ctx, Close::Restart),
        }
    }
}
