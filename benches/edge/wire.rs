//! Sockets to a server, with the small part of HTTP and WebSocket that they need.
use crate::process::now_ns;
use crate::tally::{Shared, Stamps};
use anyhow::{Context as _, Result, bail, ensure};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, ReadBuf};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use url::Url;

/// Maximum bytes of a handshake's response; a longer one is an error.
const HEAD_MAX: usize = 8 << 10;
const MASK: [u8; 4] = [0x1d, 0xc4, 0x7a, 0x93];

thread_local! {
    /// The read buffer of all sockets; nothing is kept in it between reads.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 << 10]);
}

/// Where a URL points.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The value of the `Host` header.
    authority: String,
    path: String,
}

impl Target {
    pub(crate) fn parse(url: &str, scheme: &str) -> Result<Target> {
        let url = Url::parse(url).with_context(|| format!("{url:?} is not a URL"))?;
        ensure!(url.scheme() == scheme, "{url} does not begin with {scheme}://");
        let address = *url.socket_addrs(|| None)?.first().with_context(|| format!("{url} has no address"))?;
        let path = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        Ok(Target { address, authority: url.authority().to_owned(), path })
    }

    pub(crate) async fn connect(&self, receive_buffer: Option<u32>) -> Result<Socket> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = socket
            .connect(self.address)
            .await
            .with_context(|| format!("cannot connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok(Socket { read, write: Rc::new(write), early: Vec::new() })
    }

    /// Opens a WebSocket with the headers of a browser.
    pub(crate) async fn open(&self) -> Result<Socket> {
        self.upgrade(self.connect(None).await?).await
    }

    /// The same with the smallest receive buffer.
    pub(crate) async fn open_narrow(&self) -> Result<Socket> {
        self.upgrade(self.connect(Some(4 << 10)).await?).await
    }

    async fn upgrade(&self, mut socket: Socket) -> Result<Socket> {
        let (path, host) = (&self.path, &self.authority);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nPragma: no-cache\r\n\
             Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 \
             (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: http://{host}\r\n\
             Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
             Accept-Language: en-US,en;q=0.9\r\nCookie: sid=0123456789abcdef0123456789abcdef\r\n\
             Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n"
        );
        send(&socket.write, request.as_bytes()).await?;
        let mut head = Vec::new();
        let end = loop {
            if let Some(end) = memchr::memmem::find(&head, b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(head.len() < HEAD_MAX, "the answer to the handshake has no end");
            socket.receive(|bytes| head.extend_from_slice(bytes)).await.context("in the handshake")?;
        };
        ensure!(head.starts_with(b"HTTP/1.1 101 "), "the handshake was refused: {}", first_line(&head));
        socket.early = head.split_off(end);
        Ok(socket)
    }

    /// Sends the simulator the request that a gateway would send for one user message.
    pub(crate) async fn post(&self, prompt: &str, model: &str) -> Result<Socket> {
        let socket = self.connect(None).await?;
        send(&socket.write, self.request(prompt, model).as_bytes()).await?;
        Ok(socket)
    }

    /// The same, not sent: in the chat dialect if the path is one of it, else in DashScope's.
    pub(crate) fn request(&self, prompt: &str, model: &str) -> String {
        let messages = serde_json::json!([{ "role": "user", "content": prompt }]);
        let body = if self.path.ends_with("/chat/completions") {
            serde_json::json!({ "model": model, "messages": messages, "stream": true })
        } else {
            serde_json::json!({
                "model": model,
                "input": { "messages": messages },
                "parameters": { "result_format": "message", "incremental_output": true },
            })
        };
        let body = body.to_string();
        format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer bench-key\r\nAccept: text/event-stream\r\n\
             X-DashScope-SSE: enable\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.path,
            self.authority,
            body.len()
        )
    }
}

pub(crate) struct Socket {
    read: OwnedReadHalf,
    pub(crate) write: Rc<OwnedWriteHalf>,
    /// Bytes that were read together with the handshake's response.
    early: Vec<u8>,
}

impl Socket {
    /// Reads once and passes on the bytes.
    pub(crate) async fn receive<R>(&mut self, mut on: impl FnMut(&[u8]) -> R) -> Result<R> {
        poll_fn(|cx| {
            BUFFER.with_borrow_mut(|buffer| {
                // Not `try_read`: tokio clears readiness after a short read, which saves a read per delta.
                let mut buffer = ReadBuf::new(buffer);
                ready!(Pin::new(&mut self.read).poll_read(cx, &mut buffer))?;
                let bytes = buffer.filled();
                Poll::Ready(if bytes.is_empty() {
                    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")
                        .into())
                } else {
                    Ok(on(bytes))
                })
            })
        })
        .await
    }

    /// Reads at most this number of bytes, and discards them.
    pub(crate) async fn sip(&mut self, most: usize) -> Result<()> {
        let mut bytes = vec![0; most];
        ensure!(self.read.read(&mut bytes).await? > 0, "the server closed the connection");
        Ok(())
    }

    /// Counts the deltas of a WebSocket until it ends; answers pings.
    pub(crate) async fn listen(mut self, tally: Shared) -> Result<()> {
        let (mut frames, mut stamps) = (Frames::default(), Stamps::default());
        let mut bytes_in = |bytes: &[u8], pongs: &mut Vec<u8>| -> Result<()> {
            let now = now_ns();
            let tally = &mut *tally.borrow_mut();
            tally.reads += u64::from(tally.recording);
            frames.feed(bytes, |piece| {
                match piece {
                    Piece::Text { bytes, first } => {
                        if first && bytes.starts_with(b"Error: ") {
                            tally.trouble(first_line(bytes));
                        }
                        stamps.feed(bytes, now, tally);
                    }
                    Piece::Ping(payload) => pongs.extend(frame(0x8a, payload)),
                    Piece::Close(code) => bail!("the server closed with {code}"),
                }
                Ok(())
            })
        };
        let mut pongs = Vec::new();
        bytes_in(&std::mem::take(&mut self.early), &mut pongs)?;
        loop {
            self.receive(|bytes| bytes_in(bytes, &mut pongs)).await??;
            if !pongs.is_empty() {
                send(&self.write, &std::mem::take(&mut pongs)).await?;
            }
        }
    }

    /// Counts the deltas of an event stream until it ends.
    pub(crate) async fn listen_direct(mut self, tally: Shared) -> Result<()> {
        let mut stamps = Stamps::default();
        let mut head = true;
        loop {
            let on = |bytes: &[u8]| {
                let now = now_ns();
                ensure!(
                    !head || bytes.starts_with(b"HTTP/1.1 200 "),
                    "refused: {}",
                    String::from_utf8_lossy(bytes)
                );
                head = false;
                let tally = &mut *tally.borrow_mut();
                tally.reads += u64::from(tally.recording);
                stamps.feed(bytes, now, tally);
                Ok(())
            };
            self.receive(on).await??;
        }
    }
}

pub(crate) async fn send(socket: &OwnedWriteHalf, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A masked text frame.
pub(crate) fn text_frame(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// A masked frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len() as u64);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame header with this length in bytes.
pub(crate) fn head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    match length {
        short @ 0..126 => head.push(0x80 | short as u8),
        medium @ 126..0x1_0000 => {
            head.push(0x80 | 126);
            head.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            head.push(0x80 | 127);
            head.extend_from_slice(&long.to_be_bytes());
        }
    }
    head.extend_from_slice(&MASK);
    head
}

/// A part of what the server sends.
enum Piece<'a> {
    /// A text frame, or the part of it that was in one read.
    Text {
        bytes: &'a [u8],
        first: bool,
    },
    Ping(&'a [u8]),
    Close(u16),
}

/// Parses the server's frames. Text is passed on as it arrives; only headers and control frames are buffered.
#[derive(Default)]
struct Frames {
    head: [u8; 10],
    /// Number of bytes in `head`.
    have: usize,
    /// Payload bytes that are still missing, once the header is complete.
    left: Option<u64>,
    first: bool,
    control: Vec<u8>,
}

impl Frames {
    fn feed(&mut self, mut bytes: &[u8], mut on: impl FnMut(Piece<'_>) -> Result<()>) -> Result<()> {
        while !bytes.is_empty() {
            let left = match self.left {
                Some(left) => left,
                None => {
                    self.head[self.have] = bytes[0];
                    self.have += 1;
                    bytes = &bytes[1..];
                    let Some(length) = self.length()? else { continue };
                    self.first = true;
                    length
                }
            };
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (payload, rest) = bytes.split_at(take);
            bytes = rest;
            let left = left - take as u64;
            let opcode = self.head[0] & 0x0f;
            match opcode {
                0 | 1 => on(Piece::Text { bytes: payload, first: self.first })?,
                8..=10 => self.control.extend_from_slice(payload),
                other => bail!("a frame with opcode {other}"),
            }
            self.first = false;
            self.left = Some(left);
            if left == 0 {
                match (opcode, self.control.as_slice()) {
                    (8, [high, low, ..]) => on(Piece::Close(u16::from_be_bytes([*high, *low])))?,
                    (8, _) => on(Piece::Close(1005))?,
                    (9, payload) => on(Piece::Ping(payload))?,
                    _ => {}
                }
                self.control = Vec::new();
                self.left = None;
                self.have = 0;
            }
        }
        Ok(())
    }

    /// The payload's length, once enough of the header was received.
    fn length(&self) -> Result<Option<u64>> {
        if self.have < 2 {
            return Ok(None);
        }
        ensure!(self.head[1] & 0x80 == 0, "a masked frame from the server");
        let [_, short, a, b, rest @ ..] = self.head;
        Ok(match short {
            126 => (self.have == 4).then(|| u64::from(u16::from_be_bytes([a, b]))),
            127 => (self.have == 10).then(|| {
                rest.iter().fold(u64::from(u16::from_be_bytes([a, b])), |length, byte| {
                    length << 8 | u64::from(*byte)
                })
            }),
            short => Some(u64::from(short)),
        })
    }
}

fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned()
}
