//! An upstream that sends exactly the bytes a test wants, and says when its sockets are closed.
use super::{PATIENCE, within};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

pub(crate) struct ScriptedUpstream {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// One connection of the gateway's pool.
pub(crate) struct Connection {
    stream: TcpStream,
}

/// Head of a stream of server-sent events without a length, in chunks.
pub(crate) fn sse_head() -> &'static str {
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream;charset=UTF-8\r\ntransfer-encoding: chunked\r\n\r\n"
}

impl ScriptedUpstream {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        ScriptedUpstream { listener, address }
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> Connection {
        let (stream, _) = within("the gateway connects", PATIENCE, self.listener.accept()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream }
    }

    /// Whether nobody connects for a while.
    pub(crate) async fn is_left_alone(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.listener.accept()).await.is_err()
    }
}

impl Connection {
    /// The next request: head and body. The head is in lower case.
    pub(crate) async fn request(&mut self) -> (String, String) {
        within("a request", PATIENCE, async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let lower = head.to_lowercase();
            let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
            let mut body = vec![0; length.unwrap_or("0").parse().unwrap()];
            self.stream.read_exact(&mut body).await.unwrap();
            (lower, String::from_utf8(body).unwrap())
        })
        .await
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// One chunk of a chunked body.
    pub(crate) async fn chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.send(chunk).await;
    }

    /// A result frame, or the error of a gateway that has closed.
    pub(crate) async fn try_delta(&mut self, text: &str) -> std::io::Result<()> {
        let event = event(text, "null");
        self.stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await
    }

    /// A result frame with a piece of text.
    pub(crate) async fn delta(&mut self, text: &str) {
        self.chunk(event(text, "null")).await;
    }

    /// The last frame and the end of the body.
    pub(crate) async fn finish(&mut self) {
        self.chunk(event("", "stop")).await;
        self.send("0\r\n\r\n").await;
    }

    /// Waits until the gateway closes; how long that took.
    pub(crate) async fn closed(&mut self) -> Duration {
        let since = Instant::now();
        let mut byte = [0];
        let read = within("the gateway closes its upstream", PATIENCE, self.stream.read(&mut byte)).await;
        assert!(matches!(read, Ok(0) | Err(_)), "the gateway wrote something");
        since.elapsed()
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// A DashScope result frame.
pub(crate) fn event(text: &str, finish: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!(
        "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{{\"output\":{{\"choices\":[{{\"message\":{{\"content\":{text},\
         \"role\":\"assistant\"}},\"finish_reason\":\"{finish}\"}}]}},\"usage\":{{\"total_tokens\":3,\
         \"input_tokens\":2,\"output_tokens\":1}},\"request_id\":\"r-1\"}}\n\n"
    )
}
