//! The stream of one HTTP connection, between the socket and the library's parser, until the connection ends or becomes
//! a WebSocket.
//!
//! Whenever the connection's task is polled, the library reads, writes or flushes the stream at least once. So each of
//! these calls checks the deadlines first and arranges for the task to be woken at the next one.
use super::{
    connection_limiter::{ConnectionLimiter, HttpPermit},
    exchange::{EarlyClose, Exchange, ParserInput},
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

/// Bytes that are read before the parser may have them, in order to notice that the client has disconnected; more stays
/// in the kernel.
const AHEAD_BYTES_MAX: usize = 8 * 1024;
/// How long the client has to close its side after we closed ours. Until then its bytes are read and discarded: if some
/// were unread, the kernel would send a reset, which can destroy the response in flight (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that are discarded meanwhile; if there are more, the socket is closed.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// The state of the current request, shared by the connection's stream and the request handlers.
pub(super) type SharedExchange = Rc<RefCell<Exchange>>;

pub(crate) struct HttpStream {
    /// `None` after it was handed over.
    io: Option<TcpStream>,
    exchange: SharedExchange,
    /// Bytes that were read before the parser may have them.
    ahead: BytesMut,
    /// The client has closed its side.
    is_ended: bool,
    timer: Pin<Box<Sleep>>,
    /// Set while there is output that the kernel does not accept.
    stall: Option<Stall>,
    state: State,
    permit: HttpPermit,
    limiter: Arc<ConnectionLimiter>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// Our side is closed; counts the bytes discarded since.
    Lingering {
        discarded: usize,
    },
    /// The connection was closed early.
    Closed,
}

impl HttpStream {
    /// Admits a connection, if need be by closing an idle one.
    ///
    /// # Errors
    /// There is no room for it. The client was sent a 503.
    pub(crate) fn new(
        io: TcpStream,
        limiter: &Arc<ConnectionLimiter>,
    ) -> io::Result<(Self, Option<SocketAddr>)> {
        let peer = io.peer_addr().ok();
        let socket = SockRef::from(&io);
        let Some(permit) = limiter.admit(peer.map(|peer| peer.ip())) else {
            let _ = socket.send(FULL);
            end_cleanly(&io);
            return Err(ErrorKind::ConnectionRefused.into());
        };
        // Otherwise the last segment of a response may wait until the previous ones are acknowledged.
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_send_buffer_size(limiter.limits.send_buffer);
        let now = Instant::now();
        let exchange = Exchange::new(limiter.limits, limiter.takes_bodies, now.into_std());
        let timer = Box::pin(sleep_until(now + limiter.limits.header_timeout));
        let stream = HttpStream {
            io: Some(io),
            exchange: Rc::new(RefCell::new(exchange)),
            ahead: BytesMut::new(),
            is_ended: false,
            timer,
            stall: None,
            state: State::Running,
            permit,
            limiter: Arc::clone(limiter),
        };
        Ok((stream, peer))
    }

    pub(super) fn exchange(&self) -> &SharedExchange {
        &self.exchange
    }

    /// The socket, and the bytes received after the last request.
    pub(crate) fn into_parts(mut self) -> Option<(TcpStream, BytesMut)> {
        let ahead = std::mem::take(&mut self.ahead);
        self.io.take().map(|io| (io, ahead))
    }

    /// Fails if the connection was evicted or a limit is exceeded; otherwise the task is woken when that happens.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.state == State::Closed {
            return Err(ErrorKind::TimedOut.into());
        }
        if self.permit.poll_evicted(cx) {
            return Err(self.close_early(EarlyClose::Evicted));
        }
        if let (Some(stall), Some(io)) = (&mut self.stall, &self.io)
            && stall.poll(io, cx)
        {
            return Err(self.close_early(EarlyClose::WriteTimeout));
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
                return Err(self.close_early(cut));
            }
        }
    }

    /// Closes the connection before its client did. If no response has started, the client is sent a status.
    fn close_early(&mut self, reason: EarlyClose) -> io::Error {
        self.state = State::Closed;
        self.limiter.count_closed(reason, self.permit.peer());
        if let Some(io) = &self.io {
            let socket = SockRef::from(io);
            if self.stall.is_some() {
                // The peer does not read, so the kernel discards its unsent data.
                let _ = socket.set_linger(Some(Duration::ZERO));
            } else if let Some(status) = status(reason).filter(|_| self.exchange.borrow().may_answer()) {
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

    /// Passes on the bytes that the parser may have.
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
        Poll::Ready(taken.map(drop).map_err(|cut| self.close_early(cut)))
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        let parser_input = this.exchange.borrow_mut().parser_input();
        match parser_input {
            ParserInput::Bytes => {
                let fed = this.poll_feed(cx, into);
                this.permit.set_waiting(fed.is_pending());
                fed
            }
            ParserInput::AfterParse => {
                let ended = this.poll_ahead(cx);
                if !this.ahead.is_empty() {
                    cx.waker().wake_by_ref();
                }
                ended
            }
            ParserInput::AfterAnswer => this.poll_ahead(cx),
            ParserInput::EndOfStream => Poll::Ready(Ok(())),
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
            this.permit.set_waiting(false);
            this.exchange.borrow_mut().output_written();
            return Poll::Ready(written);
        }
        if this.stall.is_none() {
            this.permit.set_waiting(true);
        }
        let stall = this.stall.get_or_insert_with(|| Stall::new(this.limiter.limits.write_timeout));
        // The timeout starts now, so the task must be woken when it ends.
        if stall.poll(io, cx) {
            Poll::Ready(Err(this.close_early(EarlyClose::WriteTimeout)))
        } else {
            Poll::Pending
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        let answered = this.exchange.borrow_mut().flushed(Instant::now().into_std());
        if answered {
            // To read the next request, which may have been read ahead, or the end.
            cx.waker().wake_by_ref();
        }
        // The deadline may have moved since the last poll: the request handlers report progress.
        Poll::Ready(this.check(cx))
    }

    /// Closes our side and waits up to [`LINGER`] for the client to close its own.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        let Some(io) = &mut this.io else { return Poll::Ready(Ok(())) };
        let State::Lingering { discarded } = &mut this.state else {
            ready!(Pin::new(io).poll_shutdown(cx))?;
            this.exchange.borrow_mut().end();
            this.permit.set_waiting(true);
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

/// Closes our side and discards what was received, without waiting: if bytes were unread, the close would become a
/// reset, which can destroy the response in flight.
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

/// The response to a request that exceeded a limit. None for a connection without an unfinished request.
fn status(reason: EarlyClose) -> Option<&'static [u8]> {
    match reason {
        EarlyClose::HeaderTimeout | EarlyClose::BodyTimeout => Some(
            b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        ),
        EarlyClose::HeaderBytes => Some(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        ),
        EarlyClose::BodyBytes => {
            Some(b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        }
        EarlyClose::RequestTimeout => Some(
            b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        ),
        EarlyClose::Evicted | EarlyClose::WriteTimeout | EarlyClose::IdleTimeout => None,
    }
}
