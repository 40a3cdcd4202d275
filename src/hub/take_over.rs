//! After the App has agreed to an upgrade: takes the socket over.
//!
//! actix-http keeps two 8 KiB buffers and its dispatcher for every WebSocket, and stops polling the
//! actor when the peer stops reading. Its upgrade hook hands the socket out, so that none of this
//! stays behind.
use super::{
    connection::{Connection, Connections, Consumer},
    worker::Worker,
};
use crate::{
    access::Pass,
    chat::Source,
    lifecycle::ConnectionPermit,
    memory::{Account, Kind, Level},
    protocol::Close,
    socket::{
        frame,
        guard::Limits,
        inbound::{Fragments, Inbound},
        intake::Ticket,
        task,
        uploads::State,
    },
};
use actix::AsyncContext;
use actix_web_actors::ws::Frame;
use futures_core::Stream;
use std::{
    io::ErrorKind,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};
use tokio::net::TcpStream;

/// A socket with its task and its actor, see [`Connection`].
const CONNECTION_BYTES: usize = 2048;

/// Left in the request's extensions by the handler that agreed to an upgrade.
pub struct Upgrade {
    /// Names the connection in logs.
    pub id: u64,
    pub consumer: Consumer,
    pub pass: Arc<Pass>,
    /// Its frames may hold whole conversations.
    pub transcripts: bool,
    pub permit: ConnectionPermit,
}

/// Starts the connection; `early` is what the client sent right behind its request.
pub(crate) fn open(
    connections: Rc<Connections>,
    upgrade: Upgrade,
    io: TcpStream,
    head: Vec<u8>,
    early: &[u8],
) {
    let worker = &connections.worker;
    let settings = worker.settings;
    let options = socket2::SockRef::from(&io);
    // Without it a delta waits until the one before is acknowledged, which takes a peer up to 40 ms.
    // actix-http sets it for HTTP/2 alone.
    let _ = options.set_tcp_nodelay(true);
    // What it does not bound, the write deadline does; so a refusal by the kernel is no fault. There is
    // no TCP_USER_TIMEOUT: it counts on over the small steps in which a slow reader opens its window.
    let _ = options.set_send_buffer_size(settings.send_buffer);
    let io = Rc::new(io);
    let source = upgrade.pass.source();
    let frame_bytes =
        if upgrade.transcripts { settings.transcript_bytes } else { settings.limits.frame_bytes };
    let inbound = Inbound::new(Limits { frame_bytes, ..settings.limits });
    let frames = Frames {
        io: Rc::clone(&io),
        worker: Rc::clone(worker),
        id: upgrade.id,
        source,
        ticket: None,
        inbound,
        fragments: Fragments::default(),
        frame_bytes,
        unfinished: false,
    };
    let mut account = Account::new(&worker.memory, source, [Kind::Connections, Kind::Output]);
    account.set(0, CONNECTION_BYTES);
    let place = Place { account, _permit: upgrade.permit };
    let socket = task::Socket::new(Rc::clone(&io), head, settings.bounds, place, |ctx| {
        ctx.add_stream(frames.with(early));
        Connection::new(connections, io, upgrade.id, upgrade.consumer, upgrade.pass)
    });
    actix_rt::spawn(socket);
}

/// What a socket has of what is shared by all.
struct Place {
    account: Account<2>,
    _permit: ConnectionPermit,
}

impl task::Kept for Place {
    fn waits(&mut self, bytes: usize) {
        self.account.set(1, bytes);
    }
}

/// The peer's messages and control frames.
struct Frames {
    io: Rc<TcpStream>,
    worker: Rc<Worker>,
    /// Of the connection.
    id: u64,
    source: Source,
    /// Its place while the source has read its share of a tick.
    ticket: Option<Ticket>,
    inbound: Inbound,
    fragments: Fragments,
    /// The bound of this route.
    frame_bytes: u32,
    /// It is among the worker's [`Uploads`](crate::socket::uploads::Uploads).
    unfinished: bool,
}

impl Frames {
    fn with(mut self, early: &[u8]) -> Self {
        if !early.is_empty() {
            self.take(early);
        }
        self
    }

    fn take(&mut self, bytes: &[u8]) {
        frame::count(&frame::RECEIVED, bytes.len());
        self.worker.intake.borrow_mut().count(self.source, bytes.len());
        let limits = Limits { frame_bytes: self.frame_bytes, ..self.worker.settings.limits };
        self.inbound.take(limits, self.worker.nanos(), bytes);
    }

    /// The next message or control frame, or why the socket is to be closed.
    fn next(&mut self) -> Option<Result<Frame, Close>> {
        loop {
            match self.inbound.frame()? {
                Ok(Frame::Continuation(item)) => match self.fragments.join(item) {
                    Some((true, payload)) => return Some(Ok(Frame::Text(payload))),
                    Some((false, payload)) => return Some(Ok(Frame::Binary(payload))),
                    None => {}
                },
                frame => return Some(frame),
            }
        }
    }

    /// There is nothing to read, or it has to wait. What has begun and is not complete is watched from here
    /// on; the reason to close where that is at its end.
    fn watch(&mut self, cx: &TaskContext<'_>, paused: bool) -> Option<Close> {
        let Some(progress) = self.inbound.progress() else {
            self.forget();
            return None;
        };
        self.unfinished = true;
        let state = State { progress, held: self.inbound.footprint() + self.fragments.footprint(), paused };
        let (now, deadlines) = (self.worker.now(), &self.worker.settings.deadlines);
        let account = || Account::new(&self.worker.memory, self.source, [Kind::Inbound]);
        self.worker.uploads.note(self.id, now, &state, deadlines, cx.waker(), account)
    }

    /// What is there of a message stays as it is while memory is short.
    fn is_paused(&self) -> bool {
        let memory = &self.worker.memory;
        memory.level() != Level::Calm
            && self.inbound.held() + self.fragments.held() > 0
            && memory.pauses(self.source)
    }

    fn forget(&mut self) {
        if std::mem::take(&mut self.unfinished) {
            self.worker.uploads.remove(self.id);
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.forget();
        self.worker.intake.borrow_mut().leave(self.source, &mut self.ticket);
    }
}

impl Stream for Frames {
    type Item = Result<Frame, Close>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(frame) = this.next() {
                return Poll::Ready(Some(frame));
            }
            let paused = this.is_paused();
            let ready = if paused { Poll::Pending } else { this.io.poll_read_ready(cx) };
            let may_read = match ready {
                Poll::Pending => false,
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Ready(Ok(())) => {
                    this.worker.intake.borrow_mut().may_read(this.source, &mut this.ticket, cx.waker())
                }
            };
            if !may_read {
                return this.watch(cx, paused).map_or(Poll::Pending, |close| Poll::Ready(Some(Err(close))));
            }
            let io = Rc::clone(&this.io);
            let read = frame::IN
                .with_borrow_mut(|buffer| io.try_read(buffer).inspect(|read| this.take(&buffer[..*read])));
            match read {
                Ok(0) => return Poll::Ready(None),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(None),
            }
        }
    }
}
