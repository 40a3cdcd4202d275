//! A peer's input as a stream of messages and control frames. Reads only while the source has budget and
//! memory is not short.
use super::{
    frame,
    guard::Limits,
    inbound::{Fragments, Inbound},
    intake::WaitTicket,
    uploads::UploadState,
    worker::SocketWorker,
};
use crate::{
    chat::Source,
    memory::{Account, Kind, Level},
    protocol::Close,
};
use actix_web_actors::ws::Frame;
use futures_core::Stream;
use std::{
    io::ErrorKind,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
};
use tokio::net::TcpStream;

/// The peer's messages and control frames.
pub(super) struct FrameStream {
    io: Rc<TcpStream>,
    worker: Rc<SocketWorker>,
    /// The connection's id.
    id: u64,
    source: Source,
    /// Its queue entry while the source has used its share of a tick.
    ticket: Option<WaitTicket>,
    inbound: Inbound,
    fragments: Fragments,
    /// Maximum message payload on this route, in bytes.
    frame_bytes: u32,
    /// It has an entry in the worker's [`Uploads`](super::uploads::Uploads).
    unfinished: bool,
}

impl FrameStream {
    /// `early` was read with the upgrade request.
    pub(super) fn new(
        worker: Rc<SocketWorker>,
        io: Rc<TcpStream>,
        id: u64,
        source: Source,
        frame_bytes: u32,
        early: &[u8],
    ) -> Self {
        let inbound = Inbound::new(Limits { frame_bytes, ..worker.settings.limits });
        let mut stream = FrameStream {
            io,
            worker,
            id,
            source,
            ticket: None,
            inbound,
            fragments: Fragments::default(),
            frame_bytes,
            unfinished: false,
        };
        if !early.is_empty() {
            stream.take(early);
        }
        stream
    }

    fn take(&mut self, bytes: &[u8]) {
        frame::count(&frame::RECEIVED, bytes.len());
        self.worker.intake.borrow_mut().count(self.source, bytes.len());
        let limits = Limits { frame_bytes: self.frame_bytes, ..self.worker.settings.limits };
        self.inbound.take(limits, self.worker.nanos(), bytes);
    }

    /// The next message or control frame, or why the socket must be closed.
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

    /// Nothing can be read now. Records an incomplete message so that its deadlines apply; returns why the
    /// socket must be closed, if a deadline has passed.
    fn watch(&mut self, cx: &TaskContext<'_>, paused: bool) -> Option<Close> {
        let Some(progress) = self.inbound.progress() else {
            self.forget();
            return None;
        };
        self.unfinished = true;
        let state =
            UploadState { progress, held: self.inbound.footprint() + self.fragments.footprint(), paused };
        let (now, deadlines) = (self.worker.now(), &self.worker.settings.deadlines);
        let account = || Account::new(&self.worker.memory, self.source, [Kind::Inbound]);
        self.worker.uploads.note(self.id, now, &state, deadlines, cx.waker(), account)
    }

    /// Whether to stop reading an incomplete message because memory is short.
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

impl Drop for FrameStream {
    fn drop(&mut self) {
        self.forget();
        self.worker.intake.borrow_mut().leave(self.source, &mut self.ticket);
    }
}

impl Stream for FrameStream {
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
