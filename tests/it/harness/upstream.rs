//! An upstream that sends exactly the bytes of a test, and reports when its sockets are closed.
use super::{PATIENCE, Stopwatch, Took, within};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub(crate) struct ScriptedUpstream {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// One connection of the gateway's pool.
pub(crate) struct Connection {
    stream: TcpStream,
}

/// Head of a chunked stream of server-sent events.
pub(crate) fn sse_head() -> &'static str {
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream;charset=UTF-8\r\ntransfer-encoding: chunked\r\n\r\n"
}

impl ScriptedUpstream {
    pub(crate) async fn bind() -> Self {
        Self::bind_to("127.0.0.1:0").await
    }

    pub(crate) async fn bind_to(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        ScriptedUpstream { listener, address }
    }

    /// Accepts the next connection.
    pub(crate) async fn accept(&self) -> Connection {
        let (stream, _) = within("the gateway connects", PATIENCE, self.listener.accept()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream }
    }

    /// Whether no connection arrives within this time.
    pub(crate) async fn is_left_alone(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.listener.accept()).await.is_err()
    }
}

impl Connection {
    /// Reads the next request: head, in lower case, and body.
    pub(crate) async fn request(&mut self) -> (String, String) {
        within("a request", PATIENCE, read_request(&mut self.stream)).await.unwrap()
    }

    /// Reads the head of the next request, in lower case, but not its body.
    pub(crate) async fn request_head(&mut self) -> String {
        within("a request", PATIENCE, read_head(&mut self.stream)).await.unwrap()
    }

    /// Shuts down the writing side, then reads the body of the request with this head.
    pub(crate) async fn half_close(mut self, head: &str) {
        self.stream.shutdown().await.unwrap();
        let body = read_body(&mut self.stream, head);
        within("the rest of the request", PATIENCE, body).await.unwrap();
    }

    /// Shuts down its writing side.
    pub(crate) async fn finish_writing(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends one chunk of a chunked body.
    pub(crate) async fn chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.send(chunk).await;
    }

    /// Sends a result frame; fails if the gateway has closed the connection.
    pub(crate) async fn try_delta(&mut self, text: &str) -> std::io::Result<()> {
        let event = event(text, "null");
        self.stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await
    }

    /// Sends a result frame with a piece of text.
    pub(crate) async fn delta(&mut self, text: &str) {
        self.chunk(event(text, "null")).await;
    }

    /// Sends the last frame and the end of the body.
    pub(crate) async fn finish(&mut self) {
        self.chunk(event("", "stop")).await;
        self.send("0\r\n\r\n").await;
    }

    /// Waits until the gateway closes the connection; returns how long that took.
    pub(crate) async fn closed(&mut self) -> Took {
        let watch = Stopwatch::start();
        let mut byte = [0];
        let read = within("the gateway closes its upstream", PATIENCE, self.stream.read(&mut byte)).await;
        assert!(matches!(read, Ok(0) | Err(_)), "the gateway wrote something");
        watch.took()
    }

    /// Sets the smallest send buffer, so that the kernel holds little unsent data.
    pub(crate) fn narrow(&self) {
        socket2::SockRef::from(&self.stream).set_send_buffer_size(16 * 1024).unwrap();
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(head).unwrap().to_lowercase())
}

/// Reads one request with a length: its head, in lower case, and its body.
pub(crate) async fn read_request(
    stream: &mut (impl AsyncReadExt + Unpin),
) -> std::io::Result<(String, String)> {
    let head = read_head(stream).await?;
    let body = read_body(stream, &head).await?;
    Ok((head, body))
}

async fn read_body(stream: &mut (impl AsyncReadExt + Unpin), head: &str) -> std::io::Result<String> {
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    let mut body = vec![0; length.unwrap_or("0").parse().unwrap()];
    stream.read_exact(&mut body).await?;
    Ok(String::from_utf8(body).unwrap())
}

/// An upstream that answers requests from a list; the last response is repeated, and an empty one closes the connection.
pub(crate) struct CannedUpstream {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl CannedUpstream {
    pub(crate) async fn serve(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let answers = Arc::new(answers);
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answers, counter) = (Arc::clone(&answers), Arc::clone(&counter));
                tokio::spawn(async move {
                    while read_request(&mut stream).await.is_ok() {
                        let answer = &answers[counter.fetch_add(1, SeqCst).min(answers.len() - 1)];
                        if answer.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        CannedUpstream { address, requests, task }
    }

    /// Requests read so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }
}

impl Drop for CannedUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A complete, successful response, in chunks.
pub(crate) fn good_answer(text: &str) -> String {
    let chunk = |event: String| format!("{:x}\r\n{event}\r\n", event.len());
    format!("{}{}{}0\r\n\r\n", sse_head(), chunk(event(text, "null")), chunk(event("", "stop")))
}

/// A response with a length and a JSON body.
pub(crate) fn json_answer(status: u16, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
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
