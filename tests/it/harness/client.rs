//! Clients: an independent WebSocket implementation that keeps a transcript, and one that writes bytes.
use super::{PATIENCE, within};
use futures_util::{SinkExt, StreamExt};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tidegate::chat::RunErrorKind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async, connect_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

/// A client of `/chat`. Prints what it sent and received when the test fails.
pub(crate) struct TestClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    transcript: Vec<String>,
}

impl TestClient {
    pub(crate) async fn connect(url: &str) -> Self {
        let (socket, _) = within("the handshake", PATIENCE, connect_async(url)).await.unwrap();
        TestClient { socket, transcript: Vec::new() }
    }

    /// Connects from this address, such as 127.0.0.2.
    pub(crate) async fn connect_from(here: IpAddr, gateway: SocketAddr) -> Result<Self, String> {
        let tcp = TcpSocket::new_v4().unwrap();
        tcp.bind((here, 0).into()).unwrap();
        let handshake = async {
            let stream = tcp.connect(gateway).await.map_err(|error| error.to_string())?;
            stream.set_nodelay(true).unwrap();
            let url = format!("ws://{gateway}/chat");
            let (socket, _) =
                client_async(url, MaybeTlsStream::Plain(stream)).await.map_err(|e| e.to_string())?;
            Ok(TestClient { socket, transcript: Vec::new() })
        };
        within("the handshake", PATIENCE, handshake).await
    }

    /// Lets the simulator answer with a text and reads the whole answer. Checks that what has arrived is always a prefix
    /// of the text, so nothing is duplicated or left out.
    pub(crate) async fn ask(&mut self, text: &str, switches: &str) -> Outcome {
        let message = format!("/sim text=\"{text}\" {switches}");
        self.transcript.push(format!("> {message}"));
        if self.socket.send(Message::text(message)).await.is_err() {
            return Outcome::Lost;
        }
        self.read_answer(text).await
    }

    /// Reads the rest of an answer.
    pub(crate) async fn read_answer(&mut self, text: &str) -> Outcome {
        let mut received = String::new();
        while received != text {
            let message = within("an answer's end", PATIENCE, self.socket.next()).await;
            self.transcript.push(format!("< {message:?}"));
            match message {
                Some(Ok(Message::Text(more))) if more.starts_with("Error: ") => {
                    return Outcome::Error(more.to_string());
                }
                Some(Ok(Message::Text(more))) => received.push_str(&more),
                Some(Ok(Message::Close(frame))) => {
                    return Outcome::Closed(frame.map_or(1005, |frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Outcome::Lost,
            }
            assert!(text.starts_with(&received), "expected the beginning of {text:?}, got {received:?}");
        }
        Outcome::Whole
    }

    /// Opens the WebSocket over an existing TCP connection.
    pub(crate) async fn over(url: &str, stream: TcpStream) -> Self {
        let handshake = tokio_tungstenite::client_async(url, MaybeTlsStream::Plain(stream));
        let (socket, _) = within("the handshake", PATIENCE, handshake).await.unwrap();
        TestClient { socket, transcript: Vec::new() }
    }

    /// Clears the transcript: a long test does not need the part that succeeded.
    pub(crate) fn forget(&mut self) {
        self.transcript.clear();
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.transcript.push(format!("> {text}"));
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.transcript.push(format!("> {message:?}"));
        self.socket.send(message).await.unwrap();
    }

    /// The next text message.
    pub(crate) async fn read_text(&mut self) -> String {
        match self.next().await {
            Message::Text(text) => text.to_string(),
            other => panic!("expected text, got {other:?}"),
        }
    }

    /// The next message that is not a ping.
    pub(crate) async fn next(&mut self) -> Message {
        loop {
            let message = within("a message", PATIENCE, self.socket.next()).await;
            let message = message.expect("the socket is open").expect("a good message");
            self.transcript.push(format!("< {message:?}"));
            if !message.is_ping() {
                return message;
            }
        }
    }

    /// Reads text messages until they are as long as `expected`, and asserts that they are equal to it.
    pub(crate) async fn expect(&mut self, expected: &str) {
        let mut received = String::new();
        while received.len() < expected.len() {
            received.push_str(&self.read_text().await);
        }
        assert_eq!(received, expected);
    }

    /// Reads text messages until one begins with `Error: `; returns the text before it, and the error.
    pub(crate) async fn until_error(&mut self) -> (String, String) {
        let mut received = String::new();
        loop {
            let text = self.read_text().await;
            if text.starts_with("Error: ") {
                return (received, text);
            }
            received.push_str(&text);
        }
    }

    /// Reads text messages until an error, which must be of this kind; returns the text before it. An error consists of its
    /// sentence and an optional request ID.
    pub(crate) async fn fails(&mut self, kind: RunErrorKind) -> String {
        let (text, error) = self.until_error().await;
        assert!(is_error(&error, kind), "expected {kind:?}, got {error:?}");
        text
    }

    /// Runs a turn that must succeed, which shows that nothing of the previous turn was left.
    pub(crate) async fn still_works(&mut self) {
        self.send_text("/sim text=fine").await;
        self.expect("fine").await;
    }

    /// The number of pings during `time`. Each is answered.
    pub(crate) async fn pings(&mut self, time: Duration) -> usize {
        let mut pings = 0;
        let count = async {
            while let Some(Ok(message)) = self.socket.next().await {
                pings += usize::from(message.is_ping());
            }
        };
        assert!(tokio::time::timeout(time, count).await.is_err(), "the socket ended");
        pings
    }

    /// Reads to the close frame and returns its code.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            match self.next().await {
                Message::Close(frame) => return frame.map_or(1005, |frame| frame.code.into()),
                Message::Text(_) | Message::Pong(_) => {}
                other => panic!("expected a close, got {other:?}"),
            }
        }
    }

    /// Reads to the end of the socket, which must come without a close frame.
    pub(crate) async fn cut(&mut self) {
        while let Some(Ok(message)) = within("an end", PATIENCE, self.socket.next()).await {
            assert!(!message.is_close(), "it was closed: {message}");
        }
    }

    pub(crate) async fn close(mut self) {
        let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        self.socket.close(Some(frame)).await.unwrap();
        within("the close is answered", PATIENCE, async {
            while let Some(Ok(_)) = self.socket.next().await {}
        })
        .await;
    }
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Whole,
    Error(String),
    Closed(u16),
    /// The socket ended without a close frame.
    Lost,
}

/// Whether a message is an error of this kind: its sentence, in which a time may replace "in a moment" and the like, and
/// an optional request ID.
pub(crate) fn is_error(message: &str, kind: RunErrorKind) -> bool {
    let Some(text) = message.strip_prefix("Error: ") else { return false };
    let (text, id) = match text.strip_suffix(')').and_then(|text| text.split_once(" (request ")) {
        Some((text, id)) => (text, id),
        None => (text, ""),
    };
    let vague = [" in a few seconds.", " in a moment."];
    let stem = vague.iter().find_map(|vague| kind.sentence().strip_suffix(vague));
    let time = stem.and_then(|stem| text.strip_prefix(stem)?.strip_prefix(" in ")?.strip_suffix('.'));
    let is_time = |time: &str| {
        time.split_once(' ').is_some_and(|(n, unit)| {
            n.parse::<u32>().is_ok_and(|n| n > 0) && ["s", "min", "h"].contains(&unit)
        })
    };
    let known = text == kind.sentence() || time.is_some_and(is_time);
    known && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

impl Drop for TestClient {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("transcript:\n{}", self.transcript.join("\n"));
        }
    }
}

/// A client that writes arbitrary bytes.
pub(crate) struct RawClient {
    pub(crate) stream: TcpStream,
}

impl RawClient {
    /// Opens `/chat` by a handwritten handshake.
    pub(crate) async fn upgrade(address: SocketAddr) -> Self {
        let mut client = Self::connect(address).await;
        let answer = client.request(&handshake(address, &[])).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        client
    }

    /// Connects from this address, such as 127.0.0.2.
    pub(crate) async fn connect_from(here: IpAddr, address: SocketAddr) -> Self {
        let tcp = TcpSocket::new_v4().unwrap();
        tcp.bind((here, 0).into()).unwrap();
        RawClient { stream: tcp.connect(address).await.unwrap() }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        RawClient { stream }
    }

    /// Opens `/chat` with the smallest receive buffer and segments of Ethernet size: with the large segments of the
    /// loopback device, progress would be visible only in steps of half the buffer.
    pub(crate) async fn upgrade_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket2::SockRef::from(&socket).set_tcp_mss(1460).unwrap();
        let stream = within("it connects", PATIENCE, socket.connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = RawClient { stream };
        let answer = client.request(&handshake(address, &[])).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        client
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Sends a request and returns the head of the response.
    pub(crate) async fn request(&mut self, request: &str) -> String {
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let read = within("an answer", PATIENCE, self.stream.read(&mut byte)).await.unwrap();
            assert_eq!(read, 1, "closed after {:?}", String::from_utf8_lossy(&head));
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    /// Sends a request that may be rejected before all of it has arrived, and returns the response.
    pub(crate) async fn answer(self, request: &str) -> String {
        let (mut from, mut to) = self.stream.into_split();
        let mut head = vec![0; 1024];
        let (_, read) = tokio::join!(
            to.write_all(request.as_bytes()),
            within("an answer", PATIENCE, from.read(&mut head)),
        );
        head.truncate(read.unwrap_or(0));
        String::from_utf8(head).unwrap()
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Writes to a server that may have closed the connection.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Appends the bytes of one read; returns 0 at the end of the stream or after a reset.
    pub(crate) async fn read_some(&mut self, into: &mut Vec<u8>) -> usize {
        self.stream.read_buf(into).await.unwrap_or(0)
    }

    /// Reads until the server closes.
    pub(crate) async fn read_to_end(&mut self, patience: Duration) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset also ends the stream.
        let _ = within("the server closes", patience, self.stream.read_to_end(&mut bytes)).await;
        bytes
    }

    /// Reads one unmasked frame; returns its first byte and its payload.
    pub(crate) async fn read_frame(&mut self) -> (u8, Vec<u8>) {
        within("a frame", PATIENCE, async {
            let first = self.stream.read_u8().await.unwrap();
            let length = match self.stream.read_u8().await.unwrap() {
                126 => usize::from(self.stream.read_u16().await.unwrap()),
                127 => self.stream.read_u64().await.unwrap() as usize,
                length => usize::from(length),
            };
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await.unwrap();
            (first, payload)
        })
        .await
    }

    /// Reads the next frame that is not a ping: how many pings come first depends on the machine.
    pub(crate) async fn read_beyond_pings(&mut self) -> (u8, Vec<u8>) {
        loop {
            let frame = self.read_frame().await;
            if frame.0 != 0x89 {
                return frame;
            }
        }
    }
}

/// An upgrade request with more headers.
pub(crate) fn handshake(address: SocketAddr, headers: &[(&str, &str)]) -> String {
    let mut request = format!(
        "GET /chat HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request + "\r\n"
}

/// A masked frame as a client sends it.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame_head(first, payload.len() as u64);
    bytes.extend(payload.iter().zip([1u8, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A frame header that claims a length.
pub(crate) fn frame_head(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | length as u8),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend([1, 2, 3, 4]);
    bytes
}
