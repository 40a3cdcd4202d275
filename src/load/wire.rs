//! The load tester's WebSocket client: little memory while idle, one read and no timer per delta.
use super::{
    cuts::CutKind,
    measure::{ErrorKind, Failure},
    settings::{Settings, Target},
};
use crate::{clock::now_ns, io_error::describe};
use actix_codec::{Decoder as _, Encoder as _};
use actix_http::ws::{CloseReason, Codec, Frame, Item, Message, hash_key};
use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    net::{IpAddr, Shutdown, SocketAddr},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead as _, ReadBuf},
    net::{
        TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Instant, Sleep, timeout, timeout_at},
};

/// Maximum bytes of a response head to the handshake; more fails the handshake.
const HEAD_MAX: usize = 16 << 10;
/// Maximum bytes of a server frame or message; more is a `bad_frame` error.
const FRAME_MAX: usize = 16 << 20;
/// Bytes of the read buffer that all sockets of a thread share.
const READ: usize = 64 << 10;
/// How long the server may take to close a socket that was cut.
const CUT: Duration = Duration::from_secs(2);
/// `Sec-WebSocket-Key` of the handshake. A random key protects proxies from scripts, which do not exist here.
const KEY: &str = "dGlkZWdhdGUgbG9hZCBrZQ==";

thread_local! {
    /// Read buffer and pending bytes; nothing is kept here between two reads.
    static BUFFERS: RefCell<(Vec<u8>, BytesMut)> = RefCell::new((vec![0; READ], BytesMut::with_capacity(READ)));
}

/// An open WebSocket.
pub(crate) struct Socket {
    read: OwnedReadHalf,
    write: Rc<OwnedWriteHalf>,
    codec: Codec,
    /// Incomplete frame; without heap memory when empty.
    carry: BytesMut,
    /// Incomplete fragmented message, in dialects that need whole messages.
    parts: Option<Vec<u8>>,
}

/// Text of a message: all of it, or one fragment.
pub(crate) struct Incoming<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) is_first: bool,
}

impl Socket {
    /// Connects and performs the handshake within the connect timeout. `cookies` are sent in addition to
    /// those of the settings, and updated from the response.
    pub(crate) async fn open(
        settings: &Settings,
        source: Option<IpAddr>,
        cookies: &mut String,
    ) -> Result<Socket, Failure> {
        let deadline = Instant::now() + settings.connect_timeout;
        let limit = settings.connect_timeout;
        let late = |kind, what: &str| Failure::new(kind, format!("{what} within {limit:?}"));
        let stream = timeout_at(deadline, connect(settings.target.address, source))
            .await
            .map_err(|_| late(ErrorKind::ConnectTimeout, "no connection"))??;
        let mut socket =
            timeout_at(deadline, handshake(stream, &settings.target, &settings.headers, cookies))
                .await
                .map_err(|_| late(ErrorKind::HandshakeTimeout, "no answer to the handshake"))??;
        socket.parts = settings.dialect.is_framed().then(Vec::new);
        Ok(socket)
    }

    /// Cuts the socket. The returned future waits until the server has closed; data received meanwhile is
    /// discarded.
    pub(crate) fn cut(self, kind: CutKind) -> impl Future<Output = ()> + 'static {
        let Socket { mut read, write, .. } = self;
        let stream = SockRef::from((*write).as_ref());
        match kind {
            // With a linger time of zero, closing sends a reset.
            CutKind::Reset => _ = stream.set_linger(Some(Duration::ZERO)),
            CutKind::HalfClose => _ = stream.shutdown(Shutdown::Write),
            CutKind::CloseFrame => send_close(&write),
        }
        if kind == CutKind::Reset
            && let Some(write) = Rc::into_inner(write)
        {
            // Dropping it would send FIN before the reset.
            write.forget();
        }
        async move {
            if kind == CutKind::Reset {
                return;
            }
            let mut rest = BytesMut::new();
            let all = async {
                while poll_fn(|cx| read_some(&mut read, cx, &mut rest)).await.is_ok_and(|got| got > 0) {
                    rest.clear();
                }
            };
            // Unread bytes would turn the close into a reset.
            let _ = timeout(CUT, all).await;
        }
    }

    /// The write half, which can be used while a read is in progress.
    pub(crate) fn writer(&self) -> Rc<OwnedWriteHalf> {
        Rc::clone(&self.write)
    }

    pub(crate) async fn send(&mut self, text: &str) -> Result<(), Failure> {
        let mut frame = BytesMut::new();
        self.codec
            .encode(Message::Text(text.into()), &mut frame)
            .map_err(|error| Failure::new(ErrorKind::Frame, error.to_string()))?;
        write_all(&self.write, &frame).await.map_err(lost)
    }

    /// Reads until `on` returns a value or the alarm fires (`None`). `on` gets the time of the read.
    ///
    /// # Errors
    /// The socket was closed or failed.
    pub(crate) async fn receive<T>(
        &mut self,
        mut alarm: Option<Pin<&mut Sleep>>,
        mut on: impl FnMut(Incoming<'_>, u64) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        loop {
            let mut pongs = BytesMut::new();
            let got = poll_fn(|cx| self.poll_receive(cx, alarm.as_mut(), &mut pongs, &mut on)).await;
            if !pongs.is_empty() {
                write_all(&self.write, &pongs).await.map_err(lost)?;
            }
            match got? {
                Got::Nothing => {}
                Got::Alarm => return Ok(None),
                Got::Value(value) => return Ok(Some(value)),
            }
        }
    }

    fn poll_receive<T>(
        &mut self,
        cx: &mut Context<'_>,
        alarm: Option<&mut Pin<&mut Sleep>>,
        pongs: &mut BytesMut,
        on: &mut impl FnMut(Incoming<'_>, u64) -> Option<T>,
    ) -> Poll<Result<Got<T>, Failure>> {
        BUFFERS.with_borrow_mut(|(input, frames)| {
            frames.clear();
            // Bytes left from the last call come first.
            if !self.carry.is_empty() {
                frames.extend_from_slice(&std::mem::take(&mut self.carry));
                let got = self.frames(frames, pongs, on, now_ns());
                if !matches!(got, Ok(Got::Nothing)) || !pongs.is_empty() {
                    self.keep(frames);
                    return Poll::Ready(got);
                }
            }
            // Not `try_read`: tokio clears readiness after a short read, which saves one read per delta.
            let mut input = ReadBuf::new(input);
            match Pin::new(&mut self.read).poll_read(cx, &mut input) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(error))),
                Poll::Pending => {
                    self.keep(frames);
                    return match alarm {
                        Some(alarm) => {
                            ready!(alarm.as_mut().poll(cx));
                            Poll::Ready(Ok(Got::Alarm))
                        }
                        None => Poll::Pending,
                    };
                }
            }
            if input.filled().is_empty() {
                return Poll::Ready(Err(Failure::new(
                    ErrorKind::Lost,
                    "the server closed without a close frame",
                )));
            }
            frames.extend_from_slice(input.filled());
            let got = self.frames(frames, pongs, on, now_ns());
            self.keep(frames);
            Poll::Ready(got)
        })
    }

    fn keep(&mut self, frames: &mut BytesMut) {
        if !frames.is_empty() {
            self.carry.extend_from_slice(frames);
            frames.clear();
        }
    }

    /// Decodes frames until none is complete or `on` returns a value.
    fn frames<T>(
        &mut self,
        bytes: &mut BytesMut,
        pongs: &mut BytesMut,
        on: &mut impl FnMut(Incoming<'_>, u64) -> Option<T>,
        now: u64,
    ) -> Result<Got<T>, Failure> {
        let bad = |why: String| Failure::new(ErrorKind::Frame, why);
        while let Some(frame) = self.codec.decode(bytes).map_err(|error| bad(error.to_string()))? {
            let (text, is_first, is_last): (Bytes, bool, bool) = match frame {
                Frame::Text(text) => (text, true, true),
                Frame::Continuation(Item::FirstText(text)) => (text, true, false),
                Frame::Continuation(Item::Continue(text)) => (text, false, false),
                Frame::Continuation(Item::Last(text)) => (text, false, true),
                Frame::Ping(payload) => {
                    let pong = self.codec.encode(Message::Pong(payload), pongs);
                    pong.map_err(|error| bad(error.to_string()))?;
                    continue;
                }
                Frame::Pong(_) => continue,
                Frame::Binary(_) | Frame::Continuation(Item::FirstBinary(_)) => {
                    return Err(bad("a binary message".to_owned()));
                }
                Frame::Close(reason) => return Err(closed(reason)),
            };
            if let Some(parts) =
                self.parts.as_mut().filter(|parts| !(is_first && is_last && parts.is_empty()))
            {
                if parts.len() + text.len() > FRAME_MAX {
                    return Err(bad(format!("a message of more than {FRAME_MAX} bytes")));
                }
                parts.extend_from_slice(&text);
                if !is_last {
                    continue;
                }
                let whole = std::mem::take(parts);
                if let Some(value) = on(Incoming { bytes: &whole, is_first: true }, now) {
                    return Ok(Got::Value(value));
                }
                continue;
            }
            if let Some(value) = on(Incoming { bytes: &text, is_first }, now) {
                return Ok(Got::Value(value));
            }
        }
        Ok(Got::Nothing)
    }
}

enum Got<T> {
    Nothing,
    Alarm,
    Value(T),
}

fn closed(reason: Option<CloseReason>) -> Failure {
    let (code, text) = match reason {
        Some(reason) => (u16::from(reason.code), reason.description.unwrap_or_default()),
        None => (1005, String::new()),
    };
    Failure::new(ErrorKind::Closed(code), format!("the server closed with {code} {text}").trim_end())
}

fn lost(error: io::Error) -> Failure {
    Failure::new(ErrorKind::Lost, describe(&error))
}

/// Sends a close frame.
pub(crate) fn send_close(socket: &OwnedWriteHalf) {
    let mut frame = BytesMut::new();
    let close = Message::Close(Some(actix_http::ws::CloseCode::Normal.into()));
    if Codec::new().client_mode().encode(close, &mut frame).is_ok() {
        // If the send buffer is full, the end of the connection serves the same purpose.
        let _ = socket.try_write(&frame);
    }
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream, Failure> {
    let connected = async {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    connected.await.map_err(|error: io::Error| {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => ErrorKind::ConnectRefused,
            io::ErrorKind::TimedOut => ErrorKind::ConnectTimeout,
            _ => ErrorKind::ConnectFailed,
        };
        Failure::new(kind, describe(&error))
    })
}

async fn handshake(
    stream: TcpStream,
    target: &Target,
    headers: &[(String, String)],
    cookies: &mut String,
) -> Result<Socket, Failure> {
    let (mut read, write) = stream.into_split();
    let (path, host) = (&target.path, &target.authority);
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    );
    let mut cookie = cookies.clone();
    for (name, value) in headers {
        // A request has a single Cookie header.
        if !cookie.is_empty() && name.eq_ignore_ascii_case("cookie") {
            cookie = format!("{value}; {cookie}");
        } else {
            request += &format!("{name}: {value}\r\n");
        }
    }
    if !cookie.is_empty() {
        request += &format!("Cookie: {cookie}\r\n");
    }
    request += "\r\n";
    write_all(&write, request.as_bytes()).await.map_err(lost)?;
    let mut head = BytesMut::new();
    let end = loop {
        if let Some(end) = memchr::memmem::find(&head, b"\r\n\r\n") {
            break end + 4;
        }
        if head.len() > HEAD_MAX {
            return Err(Failure::new(ErrorKind::Handshake, "the answer to the handshake has no end"));
        }
        let got = poll_fn(|cx| read_some(&mut read, cx, &mut head)).await.map_err(lost)?;
        if got == 0 {
            return Err(Failure::new(ErrorKind::Lost, "the server closed in the handshake"));
        }
    };
    let rest = head.split_off(end);
    check_head(&head)?;
    keep_cookies(cookies, &head);
    // A new buffer, because the handshake's buffer is larger than needed.
    let carry = if rest.is_empty() { BytesMut::new() } else { BytesMut::from(&rest[..]) };
    let codec = Codec::new().max_size(FRAME_MAX).client_mode();
    Ok(Socket { read, write: Rc::new(write), codec, carry, parts: None })
}

fn read_some(read: &mut OwnedReadHalf, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
    BUFFERS.with_borrow_mut(|(input, _)| {
        let mut input = ReadBuf::new(input);
        ready!(Pin::new(read).poll_read(cx, &mut input))?;
        into.extend_from_slice(input.filled());
        Poll::Ready(Ok(input.filled().len()))
    })
}

/// Checks that the response accepts the upgrade.
fn check_head(head: &[u8]) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
    match status {
        Some(101) => {}
        Some(status) => return Err(Failure::new(ErrorKind::Http(status), first)),
        None => return Err(Failure::new(ErrorKind::Handshake, format!("no HTTP: {first:.80}"))),
    }
    let accept = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("sec-websocket-accept"))
        .map(|(_, value)| value.trim());
    if accept.map(str::as_bytes) == Some(&hash_key(KEY.as_bytes())[..]) {
        Ok(())
    } else {
        Err(Failure::new(ErrorKind::Handshake, "Sec-WebSocket-Accept does not belong to the key"))
    }
}

/// Stores the cookies that a response sets, without attributes, as a browser does: a cookie replaces the one
/// of the same name.
fn keep_cookies(cookies: &mut String, head: &[u8]) {
    let text = String::from_utf8_lossy(head);
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let set = lines.filter(|(name, _)| name.trim().eq_ignore_ascii_case("set-cookie"));
    for pair in set.filter_map(|(_, value)| value.split(';').next()).map(str::trim) {
        let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
        let others = cookies.split("; ").filter(|old| !old.is_empty() && name(old) != name(pair));
        *cookies = others.chain([pair]).collect::<Vec<_>>().join("; ");
    }
}

async fn write_all(socket: &OwnedWriteHalf, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Converts a time of the machine-wide clock to tokio's.
pub(crate) fn instant_of(ns: u64) -> Instant {
    let now = now_ns();
    if ns >= now {
        Instant::now() + Duration::from_nanos(ns - now)
    } else {
        Instant::now().checked_sub(Duration::from_nanos(now - ns)).unwrap_or_else(Instant::now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_right_answer_to_the_handshake_is_taken() {
        let accept = String::from_utf8_lossy(&hash_key(KEY.as_bytes())).into_owned();
        let good = format!("HTTP/1.1 101 Switching Protocols\r\nSEC-WebSocket-Accept:  {accept}\r\n\r\n");
        assert!(check_head(good.as_bytes()).is_ok());
        for (head, kind) in [
            ("HTTP/1.1 101 Yes\r\n\r\n", ErrorKind::Handshake),
            ("HTTP/1.1 101 Yes\r\nsec-websocket-accept: other\r\n\r\n", ErrorKind::Handshake),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", ErrorKind::Http(503)),
            ("HTTP/1.1 200 OK\r\n\r\n", ErrorKind::Http(200)),
            ("SSH-2.0-OpenSSH\r\n\r\n", ErrorKind::Handshake),
            ("\r\n\r\n", ErrorKind::Handshake),
        ] {
            assert_eq!(check_head(head.as_bytes()).expect_err(head).kind, kind, "{head}");
        }
    }

    #[test]
    fn a_cookie_that_is_set_again_replaces_only_the_old_one() {
        let mut cookies = String::new();
        for (head, kept) in [
            ("HTTP/1.1 101 Yes\r\n\r\n", ""),
            (
                "HTTP/1.1 101 Yes\r\nSet-Cookie: who=1; Path=/\r\nset-cookie: kind=2; Path=/\r\n\r\n",
                "who=1; kind=2",
            ),
            ("HTTP/1.1 101 Yes\r\nset-cookie: kind=3; Path=/\r\n\r\n", "who=1; kind=3"),
            ("HTTP/1.1 101 Yes\r\n\r\n", "who=1; kind=3"),
            ("HTTP/1.1 101 Yes\r\nset-cookie: who=4\r\n\r\n", "kind=3; who=4"),
            ("HTTP/1.1 101 Yes\r\nset-cookie: wh=5\r\n\r\n", "kind=3; who=4; wh=5"),
        ] {
            keep_cookies(&mut cookies, head.as_bytes());
            assert_eq!(cookies, kept, "{head}");
        }
    }
}
