//! The stream of one plain HTTP connection: between the socket and the library's parser, until the connection
//! ends or becomes a WebSocket.
//!
//! The library polls it whenever it polls the connection's task: each poll of the task reads, writes or flushes
//! at least once. So every call looks at the deadlines first, and leaves the task woken for the next one.
use super::{
    door::{Door, Place},
    exchange::{Appetite, Cut, Exchange},
};
use crate::socket::stall::Stall;
use bytes::{Buf, BytesMut};
use socket2::SockRef;
use std::{
    cell::RefCell,
    future::Future,
    io::{self, ErrorKind},
    mem::MaybeUninit,
    net::{Shutdown, SocketAddr},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

/// Bytes that are read ahead of the parser, to notice that the client has gone; the rest waits in the kernel.
const AHEAD_BYTES_MAX: usize = 8 * 1024;
/// How long the client has to close its side after ours is closed, and what is read of it meanwhile: with unread
/// bytes the kernel would send a reset, which can destroy the answer on its way (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// What the routes report to the stream of their connection.
pub(super) type Shared = Rc<RefCell<Exchange>>;

pub(crate) struct HttpStream {
    /// Nothing only once it was given away.
    io: Option<TcpStream>,
    exchange: Shared,
    /// Bytes that came before it was their turn.
    ahead: BytesMut,
    /// The client has closed its side.
    is_ended: bool,
    timer: Pin<Box<Sleep>>,
    /// There is output that the kernel does not take.
    stall: Option<Stall>,
    state: State,
    place: Place,
    door: Arc<Door>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// Our side is closed; bytes discarded since.
    Lingering {
        discarded: usize,
    },
    /// Nothing is left to be done.
    Over,
}

impl HttpStream {
    /// Admits a connection and makes room for it where that is needed.
    ///
    /// # Errors
    /// There is no room. The client has got a 503.
    pub(crate) fn new(io: TcpStream, door: &Arc<Door>) -> io::Result<(Self, Option<SocketAddr>)> {
        let peer = io.peer_addr().ok();
        let socket = SockRef::from(&io);
        let Some(place) = door.enter(peer.map(|peer| peer.ip())) else {
            let _ = socket.send(FULL);
            end_cleanly(&io);
            return Err(ErrorKind::ConnectionRefused.into());
        };
        // Without it the last segment of an answer may wait for the acknowledgement of those before.
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_send_buffer_size(door.settings.send_buffer);
        let now = Instant::now();
        let exchange = Exchange::new(door.settings.limits, now.into_std());
        let timer = Box::pin(sleep_until(now + door.settings.limits.header_timeout));
        let stream = HttpStream {
            io: Some(io),
            exchange: Rc::new(RefCell::new(exchange)),
            ahead: BytesMut::new(),
            is_ended: false,
            timer,
            stall: None,
            state: State::Running,
            place,
            door: Arc::clone(door),
        };
        Ok((stream, peer))
    }

    pub(super) fn exchange(&self) -> &Shared {
        &self.exchange
    }

    /// The socket, and what its client has sent behind its last request.
    pub(crate) fn into_parts(mut self) -> Option<(TcpStream, BytesMut)> {
        let ahead = std::mem::take(&mut self.ahead);
        self.io.take().map(|io| (io, ahead))
    }

    /// Looks whether the connection's time is up; otherwise the task is woken when it is.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.state == State::Over {
            return Err(ErrorKind::TimedOut.into());
        }
        if self.place.poll_evicted(cx) {
            return Err(self.cut(Cut::Evicted));
        }
        if let (Some(stall), Some(io)) = (&mut self.stall, &self.io)
            && stall.poll(io, cx)
        {
            return Err(self.cut(Cut::WriteTimeout));
        }
        loop {
            let Some(deadline) = self.exchange.borrow().deadline() else { return Ok(()) };
            let deadline = Instant::from_std(deadline);
            if self.timer.deadline() != deadline {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            let overdue = self.exchange.borrow().overdue(Instant::now().into_std());
            if let Some(cut) = overdue {
                return Err(self.cut(cut));
            }
        }
    }

    /// Ends the connection. A client that waits for an answer gets a status where none was begun.
    fn cut(&mut self, cut: Cut) -> io::Error {
        self.state = State::Over;
        self.door.cut(cut, self.place.peer());
        if let Some(io) = &self.io {
            let socket = SockRef::from(io);
            if self.stall.is_some() {
                // The peer does not read what the kernel holds, so the kernel discards it.
                let _ = socket.set_linger(Some(Duration::ZERO));
            } else if let Some(status) = status(cut).filter(|_| self.exchange.borrow().may_answer()) {
                let _ = socket.send(status);
            }
        }
        self.exchange.borrow_mut().end();
        ErrorKind::TimedOut.into()
    }

    /// Reads ahead, to notice the end of the client's stream.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(())) };
        while !self.is_ended && self.ahead.len() < AHEAD_BYTES_MAX {
            let mut bytes = [MaybeUninit::uninit(); AHEAD_BYTES_MAX];
            let room = AHEAD_BYTES_MAX - self.ahead.len();
            let mut buffer = ReadBuf::uninit(&mut bytes[..room]);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer))?;
            self.is_ended = buffer.filled().is_empty();
            self.ahead.extend_from_slice(buffer.filled());
        }
        let ends = self.is_ended && self.ahead.is_empty() && self.exchange.borrow().ends_with_client();
        if ends { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Gives the parser what it may have.
    fn poll_feed(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(())) };
        let now = Instant::now().into_std();
        let taken = if self.ahead.is_empty() {
            if self.is_ended {
                return Poll::Ready(Ok(()));
            }
            let before = into.filled().len();
            ready!(Pin::new(io).poll_read(cx, into))?;
            let read = &into.filled()[before..];
            self.is_ended = read.is_empty();
            let taken = self.exchange.borrow_mut().take(now, read);
            if let Ok(taken) = taken {
                self.ahead.extend_from_slice(&read[taken..]);
                into.set_filled(before + taken);
            }
            taken
        } else {
            let offered = &self.ahead[..self.ahead.len().min(into.remaining())];
            let taken = self.exchange.borrow_mut().take(now, offered);
            if let Ok(taken) = taken {
                into.put_slice(&offered[..taken]);
                self.ahead.advance(taken);
            }
            taken
        };
        Poll::Ready(taken.map(drop).map_err(|cut| self.cut(cut)))
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        let appetite = this.exchange.borrow_mut().appetite();
        match appetite {
            Appetite::Some => {
                let fed = this.poll_feed(cx, into);
                this.place.set_waiting(fed.is_pending());
                fed
            }
            Appetite::AfterLook => {
                let ended = this.poll_ahead(cx);
                if !this.ahead.is_empty() {
                    cx.waker().wake_by_ref();
                }
                ended
            }
            Appetite::AfterAnswer => this.poll_ahead(cx),
            Appetite::End => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        let Some(io) = &mut this.io else { return Poll::Ready(Err(ErrorKind::NotConnected.into())) };
        if let Poll::Ready(written) = Pin::new(&mut *io).poll_write(cx, bytes) {
            this.stall = None;
            this.place.set_waiting(false);
            this.exchange.borrow_mut().wrote();
            return Poll::Ready(written);
        }
        if this.stall.is_none() {
            this.place.set_waiting(true);
        }
        let stall = this.stall.get_or_insert_with(|| Stall::new(this.door.settings.write_timeout));
        // The time begins now, and the task must be woken when it is up.
        if stall.poll(io, cx) { Poll::Ready(Err(this.cut(Cut::WriteTimeout))) } else { Poll::Pending }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        let answered = this.exchange.borrow_mut().flushed(Instant::now().into_std());
        if answered {
            // For the next request, which may be here already, or the end.
            cx.waker().wake_by_ref();
        }
        // Progress reported by the routes since the last poll has moved the deadline.
        Poll::Ready(this.check(cx))
    }

    /// Closes our side, and waits a moment for the client to close its own.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        let Some(io) = &mut this.io else { return Poll::Ready(Ok(())) };
        let State::Lingering { discarded } = &mut this.state else {
            ready!(Pin::new(io).poll_shutdown(cx))?;
            this.exchange.borrow_mut().end();
            this.place.set_waiting(true);
            this.timer.as_mut().reset(Instant::now() + LINGER);
            this.state = State::Lingering { discarded: this.ahead.len() };
            return Pin::new(this).poll_shutdown(cx);
        };
        let mut bytes = [MaybeUninit::uninit(); AHEAD_BYTES_MAX];
        while !this.is_ended && *discarded <= LINGER_BYTES_MAX {
            let mut buffer = ReadBuf::uninit(&mut bytes);
            if this.timer.as_mut().poll(cx).is_ready() {
                break;
            }
            ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer))?;
            *discarded += buffer.filled().len();
            this.is_ended = buffer.filled().is_empty();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for HttpStream {
    fn drop(&mut self) {
        if let Some(io) = self.io.as_ref().filter(|_| self.stall.is_none()) {
            end_cleanly(io);
        }
    }
}

/// Closes our side and discards what is there to be read, without waiting: an answer is not to be destroyed by the
/// reset that unread bytes would make of the close.
fn end_cleanly(io: &TcpStream) {
    let socket = SockRef::from(io);
    let _ = socket.shutdown(Shutdown::Write);
    let mut bytes = [MaybeUninit::uninit(); AHEAD_BYTES_MAX];
    let mut rounds = LINGER_BYTES_MAX / AHEAD_BYTES_MAX;
    while rounds > 0 && matches!(socket.recv(&mut bytes), Ok(1..)) {
        rounds -= 1;
    }
}

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n\
                      content-type: text/plain; charset=utf-8\r\ncontent-length: 30\r\n\r\n\
                      too many connections are open\n";

/// The response to a client whose unfinished request is not waited for.
fn status(cut: Cut) -> Option<&'static [u8]> {
    match cut {
        Cut::HeaderTimeout | Cut::BodyTimeout => Some(
            b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        ),
        Cut::HeaderBytes => Some(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        ),
        Cut::BodyBytes => {
            Some(b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        }
        Cut::RequestTimeout => Some(
            b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        ),
        Cut::Evicted | Cut::WriteTimeout | Cut::IdleTimeout => None,
    }
}
