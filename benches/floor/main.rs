//! The floor: a minimal relay of answers, with which the gateway is compared.
//!
//! No history, no limits, no pings, no pool: one single-threaded runtime per core behind `SO_REUSEPORT`, per-thread
//! buffers, one read and one write per delta. It listens on `PORT` of 127.0.0.1; `UPSTREAM` (host:port) is the simulator.
//! With `UPSTREAM_CA`, a PEM file, it connects over TLS and expects a certificate for `localhost`.
use actix_http::ws::hash_key;
use anyhow::{Context as _, Result, bail};
use memchr::{memchr, memchr2, memmem};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// The gateway's allocator, so that memory can be compared.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static GLOBAL: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const CONTENT: &[u8] = b"\"content\":\"";
static FIND_CONTENT: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(CONTENT));
/// Length of the longest frame header; the text is collected after this much room.
const HEADER_MAX: usize = 10;
/// No timer is run for this: the whole thread waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

thread_local! {
    static INPUT: RefCell<Vec<u8>> = RefCell::new(vec![0; 16 << 10]);
    static OUTPUT: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(16 << 10));
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let (Some(port), Some(upstream)) = (variable("PORT"), variable("UPSTREAM")) else {
        eprintln!("the floor needs PORT and UPSTREAM (host:port); benches/run starts it");
        return Ok(());
    };
    let port = port.parse().context("PORT is not a port")?;
    let address = upstream.parse().context("UPSTREAM is not an address with a port")?;
    let tls = variable("UPSTREAM_CA").map(|path| tls_connector(&path)).transpose()?;
    let upstream = Upstream { address, tls };
    let workers = thread::available_parallelism()?.get();
    let threads: Vec<_> = (0..workers)
        .map(|_| {
            let upstream = upstream.clone();
            thread::spawn(move || work(port, upstream))
        })
        .collect();
    for thread in threads {
        match thread.join() {
            Ok(result) => result?,
            Err(_) => bail!("a worker panicked"),
        }
    }
    Ok(())
}

#[allow(
    clippy::disallowed_methods,
    reason = "a program of its own, whose two settings come from the environment"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[derive(Clone)]
struct Upstream {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

/// TLS that trusts the authorities in a PEM file, as the gateway speaks it.
fn tls_connector(path: &str) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).context("cannot read UPSTREAM_CA")? {
        roots.add(certificate?)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// One core's listener and all its sockets.
fn work(port: u16, upstream: Upstream) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async move {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).context("cannot bind PORT")?;
        let listener = socket.listen(4096)?;
        loop {
            // Usually out of descriptors; open sockets continue.
            let Ok((client, _)) = listener.accept().await else {
                thread::sleep(ACCEPT_PAUSE);
                continue;
            };
            let upstream = upstream.clone();
            // An error of one socket does not affect others.
            tokio::spawn(async move { serve(client, upstream).await.ok() });
        }
    })
}

/// Serves one browser: each text message is a turn.
async fn serve(client: TcpStream, upstream: Upstream) -> io::Result<()> {
    client.set_nodelay(true)?;
    // Boxed, so that the task of an idle socket does not reserve memory for it.
    Box::pin(shake_hands(&client)).await?;
    let mut carry = Vec::new();
    loop {
        client.readable().await?;
        match next_message(&client, &mut carry)? {
            Some(Message::Text(text)) => Box::pin(ask(&client, &upstream, text)).await?,
            Some(Message::Close) => return Ok(()),
            Some(Message::Other) | None => {}
        }
    }
}

async fn shake_hands(client: &TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while memmem::find(&head, b"\r\n\r\n").is_none() {
        client.readable().await?;
        INPUT.with_borrow_mut(|input| {
            read_some(client, input).map(|got| head.extend_from_slice(&input[..got.unwrap_or(0)]))
        })?;
    }
    let head = String::from_utf8_lossy(&head);
    let key = head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| hash_key(value.trim().as_bytes()))
    });
    let Some(key) = key.filter(|_| head.starts_with("GET /chat ")) else {
        return Err(io::Error::other("not an upgrade of /chat"));
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: {}\r\n\r\n",
        String::from_utf8_lossy(&key)
    );
    write_all(client, answer.as_bytes()).await
}

enum Message {
    Text(String),
    Close,
    /// Pongs and empty texts.
    Other,
}

/// Reads once; `carry` keeps an incomplete frame and is empty otherwise.
fn next_message(client: &TcpStream, carry: &mut Vec<u8>) -> io::Result<Option<Message>> {
    INPUT.with_borrow_mut(|input| {
        let Some(got) = read_some(client, input)? else { return Ok(None) };
        if carry.is_empty() {
            if let Some(message) = parse_message(&mut input[..got]) {
                return Ok(Some(message));
            }
            carry.extend_from_slice(&input[..got]);
            return Ok(None);
        }
        carry.extend_from_slice(&input[..got]);
        let message = parse_message(carry);
        if message.is_some() {
            *carry = Vec::new();
        }
        Ok(message)
    })
}

/// The first frame, if it is complete.
fn parse_message(bytes: &mut [u8]) -> Option<Message> {
    let payload = unmask(bytes)?;
    let opcode = bytes[0] & 0x0f;
    let text = String::from_utf8_lossy(&bytes[payload]);
    Some(match opcode {
        1 if !text.trim().is_empty() => Message::Text(text.into_owned()),
        8 => Message::Close,
        _ => Message::Other,
    })
}

/// The range of the first frame's payload, which is unmasked in place.
fn unmask(bytes: &mut [u8]) -> Option<Range<usize>> {
    let (length, at) = match *bytes.get(1)? & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    let mask: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    let payload = at + 4..(at + 4).checked_add(length)?;
    for (byte, mask) in bytes.get_mut(payload.clone())?.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Some(payload)
}

/// Runs one turn over a connection of its own.
async fn ask(client: &TcpStream, upstream: &Upstream, text: String) -> io::Result<()> {
    let stream = TcpStream::connect(upstream.address).await?;
    stream.set_nodelay(true)?;
    let request = request(upstream.address, &text);
    match &upstream.tls {
        None => relay(client, stream, request).await,
        Some(tls) => {
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            relay(client, tls.connect(name, stream).await?, request).await
        }
    }
}

/// Sends a request to the upstream and writes one frame for each read of its answer.
async fn relay<T>(client: &TcpStream, mut upstream: T, request: String) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    upstream.write_all(request.as_bytes()).await?;
    upstream.flush().await?;
    let mut answer = Answer::default();
    while !answer.ended {
        let unsent = poll_fn(|cx| {
            discard_input(client, cx)?;
            INPUT.with_borrow_mut(|input| {
                // Not `try_read`: tokio clears readiness after a short read, which saves a read per delta.
                let mut input = ReadBuf::new(input);
                ready!(Pin::new(&mut upstream).poll_read(cx, &mut input))?;
                Poll::Ready(forward(client, &mut answer, input.filled()))
            })
        });
        let unsent = unsent.await?;
        write_all(client, &unsent).await?;
    }
    Ok(())
}

/// Writes the text of one read as one frame; returns the bytes that the socket did not accept.
fn forward(client: &TcpStream, answer: &mut Answer, bytes: &[u8]) -> io::Result<Vec<u8>> {
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    OUTPUT.with_borrow_mut(|output| {
        output.clear();
        output.extend_from_slice(&[0; HEADER_MAX]);
        answer.feed(bytes, output)?;
        let frame = frame_text(output);
        match client.try_write(frame) {
            Ok(sent) => Ok(frame[sent..].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(frame.to_vec()),
            Err(error) => Err(error),
        }
    })
}

/// Makes a frame of room and text; `None` if there is no text.
fn frame_text(output: &mut [u8]) -> &[u8] {
    let length = output.len() - HEADER_MAX;
    let start = match length {
        0 => return &[],
        1..126 => {
            output[9] = length as u8;
            8
        }
        126..0x1_0000 => {
            output[7] = 126;
            output[8..10].copy_from_slice(&(length as u16).to_be_bytes());
            6
        }
        _ => {
            output[1] = 127;
            output[2..10].copy_from_slice(&(length as u64).to_be_bytes());
            0
        }
    };
    output[start] = 0x81;
    &output[start..]
}

fn request(address: SocketAddr, text: &str) -> String {
    let text = serde_json::Value::from(text);
    let body = format!(
        r#"{{"model":"sim-chat","input":{{"messages":[{{"role":"user","content":{text}}}]}},"parameters":{{"result_format":"message","incremental_output":true}}}}"#
    );
    format!(
        "POST /api/v1/services/aigc/text-generation/generation HTTP/1.1\r\nhost: {address}\r\n\
         authorization: Bearer bench-key\r\naccept: text/event-stream\r\nx-dashscope-sse: enable\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The state of reading an upstream response.
#[derive(Default)]
struct Answer {
    /// The head so far; empty once it is complete.
    head: Vec<u8>,
    place: Place,
    size: usize,
    /// An incomplete line from the end of a read.
    line: Vec<u8>,
    ended: bool,
}

#[derive(Clone, Copy, Default)]
enum Place {
    #[default]
    Head,
    Size,
    /// Bytes of the chunk that are still missing.
    Chunk(usize),
    ChunkEnd,
}

impl Answer {
    fn feed(&mut self, mut bytes: &[u8], text: &mut Vec<u8>) -> io::Result<()> {
        if matches!(self.place, Place::Head) {
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(end) = memmem::find(&self.head, b"\r\n\r\n") else { return Ok(()) };
            if !self.head.starts_with(b"HTTP/1.1 200") {
                return Err(io::Error::other("the upstream refused"));
            }
            bytes = &bytes[end + 4 - before..];
            self.head = Vec::new();
            self.place = Place::Size;
        }
        while let [first, rest @ ..] = bytes {
            match self.place {
                Place::Chunk(left) => {
                    let (data, after) = bytes.split_at(left.min(bytes.len()));
                    self.lines(data, text);
                    bytes = after;
                    self.place =
                        if data.len() == left { Place::ChunkEnd } else { Place::Chunk(left - data.len()) };
                }
                Place::ChunkEnd => {
                    bytes = rest;
                    if *first == b'\n' {
                        self.place = Place::Size;
                    }
                }
                Place::Head | Place::Size => {
                    bytes = rest;
                    self.size_byte(*first);
                    if self.ended {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn size_byte(&mut self, byte: u8) {
        if let Some(digit) = char::from(byte).to_digit(16) {
            self.size = self.size << 4 | digit as usize;
        } else if byte == b'\n' {
            self.ended = self.size == 0;
            self.place = Place::Chunk(self.size);
            self.size = 0;
        }
    }

    fn lines(&mut self, mut bytes: &[u8], text: &mut Vec<u8>) {
        while let Some(end) = memchr(b'\n', bytes) {
            if self.line.is_empty() {
                content(&bytes[..end], text);
            } else {
                self.line.extend_from_slice(&bytes[..end]);
                content(&self.line, text);
                self.line.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.line.extend_from_slice(bytes);
    }
}

/// Appends the text in one line of the stream. Only escapes of a single character are supported.
fn content(line: &[u8], text: &mut Vec<u8>) {
    if !line.starts_with(b"data:") {
        return;
    }
    let Some(at) = FIND_CONTENT.find(line) else { return };
    let mut rest = &line[at + CONTENT.len()..];
    while let Some(stop) = memchr2(b'"', b'\\', rest) {
        text.extend_from_slice(&rest[..stop]);
        match rest[stop..] {
            [b'\\', b'n', ..] => text.push(b'\n'),
            [b'\\', other, ..] => text.push(other),
            _ => return,
        }
        rest = &rest[stop + 2..];
    }
}

/// Reads from the client during an answer, to notice when it disconnects.
fn discard_input(client: &TcpStream, cx: &mut Context<'_>) -> io::Result<()> {
    while let Poll::Ready(readable) = client.poll_read_ready(cx) {
        readable?;
        INPUT.with_borrow_mut(|input| read_some(client, input))?;
    }
    Ok(())
}

/// Reads available bytes; `None` if there are none.
fn read_some(socket: &TcpStream, input: &mut [u8]) -> io::Result<Option<usize>> {
    match socket.try_read(input) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(got) => Ok(Some(got)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

async fn write_all(socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
