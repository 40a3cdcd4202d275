//! A client of `/api/chat`: keeps its cookie, and assembles answers over any number of sockets.
use super::{PATIENCE, within};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{collections::HashSet, net::SocketAddr, time::Duration};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        http::{HeaderValue, header},
    },
};

/// One socket of a browser.
pub(crate) struct Chats {
    pub(crate) socket: WebSocketStream<TcpStream>,
    /// The browser's cookie: `tidegate_principal=…`.
    pub(crate) cookie: String,
}

impl Chats {
    /// Connects as a browser without a cookie.
    pub(crate) async fn connect(gateway: SocketAddr) -> Self {
        Self::connect_as(gateway, "").await
    }

    /// Connects as the browser with this cookie.
    pub(crate) async fn connect_as(gateway: SocketAddr, cookie: &str) -> Self {
        within("the handshake", PATIENCE, Self::try_connect(gateway, cookie)).await.unwrap()
    }

    pub(crate) async fn try_connect(gateway: SocketAddr, cookie: &str) -> Result<Self, String> {
        let socket = TcpSocket::new_v4().unwrap();
        Self::try_connect_on(socket, gateway, cookie).await
    }

    /// Connects as a browser without a cookie, from another address of this machine.
    pub(crate) async fn connect_from(gateway: SocketAddr, address: [u8; 4]) -> Self {
        Self::connect_from_as(gateway, address, "").await
    }

    /// Connects as the browser with this cookie, from another address of this machine.
    pub(crate) async fn connect_from_as(gateway: SocketAddr, address: [u8; 4], cookie: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        within("the handshake", PATIENCE, Self::try_connect_on(socket, gateway, cookie)).await.unwrap()
    }

    /// Connects with the smallest receive buffer, so that unread data soon accumulates in the gateway.
    pub(crate) async fn connect_narrow(gateway: SocketAddr, cookie: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        within("the handshake", PATIENCE, Self::try_connect_on(socket, gateway, cookie)).await.unwrap()
    }

    async fn try_connect_on(tcp: TcpSocket, gateway: SocketAddr, cookie: &str) -> Result<Self, String> {
        let stream = tcp.connect(gateway).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).unwrap();
        let mut request = format!("ws://{gateway}/api/chat").into_client_request().unwrap();
        if !cookie.is_empty() {
            request.headers_mut().insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
        }
        let (socket, answer) = client_async(request, stream).await.map_err(|error| error.to_string())?;
        let all = answer.headers().get_all(header::SET_COOKIE).iter();
        let mut pairs = all.map(|set| set.to_str().unwrap().split(';').next().unwrap());
        let fresh = pairs.find(|pair| pair.starts_with("tidegate_principal="));
        Ok(Chats { socket, cookie: fresh.unwrap_or(cookie).to_owned() })
    }

    pub(crate) async fn send_frame(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// Sends the first message of a chat; the message ID is the request ID.
    pub(crate) async fn ask(&mut self, request: &str, chat: &str, text: &str) {
        self.send_frame(&ask(request, chat, text)).await;
    }

    pub(crate) async fn resume(&mut self, request: &str, chat: &str, after: Option<u64>) {
        self.send_frame(&resume(request, chat, after)).await;
    }

    pub(crate) async fn abort(&mut self, request: &str) {
        self.send_frame(&json!({"type": "abort", "requestId": request})).await;
    }

    /// The next frame, or `None` when the socket was closed.
    pub(crate) async fn try_next(&mut self) -> Option<Value> {
        loop {
            match within("a frame", PATIENCE, self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Value {
        self.try_next().await.expect("the socket is open")
    }

    /// Sends a frame to a gateway that may have closed the socket; returns whether that worked.
    pub(crate) async fn try_send_frame(&mut self, frame: &Value) -> bool {
        self.socket.send(Message::text(frame.to_string())).await.is_ok()
    }

    /// Reads the answer to a request; `None` if the socket was closed first.
    pub(crate) async fn try_read_answer(&mut self, request: &str) -> Option<Answer> {
        let mut answer = Answer::of(request);
        while answer.end.is_none() {
            answer.take(&self.try_next().await?);
        }
        Some(answer)
    }

    /// Reads one answer to its end. Frames of other requests are ignored.
    pub(crate) async fn read_answer(&mut self, answer: &mut Answer) {
        while answer.end.is_none() {
            let frame = self.next().await;
            answer.take(&frame);
        }
    }

    /// Asks a question and reads the whole answer.
    pub(crate) async fn turn(&mut self, request: &str, chat: &str, text: &str) -> Answer {
        self.ask(request, chat, text).await;
        let mut answer = Answer::of(request);
        self.read_answer(&mut answer).await;
        answer
    }

    /// Reads to the close frame and returns its code.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            match within("a close", PATIENCE, self.socket.next()).await {
                Some(Ok(Message::Close(frame))) => return frame.map_or(1005, |frame| frame.code.into()),
                Some(Ok(_)) => {}
                other => panic!("expected a close, got {other:?}"),
            }
        }
    }

    /// Closes the socket with a reset.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(self.socket.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

pub(crate) fn ask(request: &str, chat: &str, text: &str) -> Value {
    ask_with(request, chat, request, text)
}

/// A question with this message ID.
pub(crate) fn ask_with(request: &str, chat: &str, message: &str, text: &str) -> Value {
    json!({
        "type": "send", "requestId": request, "id": chat, "trigger": "submit-message",
        "messages": [{"id": message, "role": "user", "parts": [{"type": "text", "text": text}]}],
        "headers": {}, "body": {},
    })
}

pub(crate) fn resume(request: &str, chat: &str, after: Option<u64>) -> Value {
    let mut frame = json!({"type": "resume", "requestId": request, "id": chat, "headers": {}, "body": {}});
    if let Some(after) = after {
        frame["lastSequence"] = after.into();
    }
    frame
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Whole,
    Stopped,
    /// The code of the error.
    Failed(String),
    NoActive,
}

/// One answer. Checks the order that the stock client requires, and by the numbers that nothing is lost, duplicated or
/// out of order.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    request: String,
    pub(crate) text: String,
    pub(crate) message: Option<String>,
    /// The last number within the turn.
    pub(crate) last: Option<u64>,
    /// The expected sequence number of the next chunk.
    sequence: u64,
    open: HashSet<String>,
    last_chunk: String,
    pub(crate) end: Option<End>,
    /// Types of the transient chunks received.
    pub(crate) transient: Vec<String>,
    /// How often its text was withdrawn.
    pub(crate) resets: usize,
    /// The model that answers.
    pub(crate) model: Option<String>,
    /// The gateway has had another attempt go on with it.
    pub(crate) gone_on: bool,
}

impl Answer {
    pub(crate) fn of(request: &str) -> Self {
        Answer {
            request: request.to_owned(),
            text: String::new(),
            message: None,
            last: None,
            sequence: 0,
            open: HashSet::new(),
            last_chunk: String::new(),
            end: None,
            transient: Vec::new(),
            resets: 0,
            model: None,
            gone_on: false,
        }
    }

    /// Continues the answer under another request; returns its `lastSequence`.
    pub(crate) fn go_on(&mut self, request: &str) -> Option<u64> {
        request.clone_into(&mut self.request);
        self.end = None;
        self.sequence = self.last.map_or(0, |last| last + 1);
        if self.last.is_none() {
            self.again(request);
        }
        self.last
    }

    /// Discards the answer and starts again under another request, as the stock client does.
    pub(crate) fn again(&mut self, request: &str) {
        let message = self.message.take();
        *self = Answer { message, ..Answer::of(request) };
    }

    /// Processes a frame if it belongs to this request.
    pub(crate) fn take(&mut self, frame: &Value) {
        if frame["requestId"] != self.request.as_str() {
            return;
        }
        assert!(self.end.is_none(), "{frame} after the end of {self:?}");
        match frame["type"].as_str().unwrap() {
            "start" => {}
            "chunk" => self.take_chunk(frame),
            "end" => {
                assert!(self.open.is_empty(), "{self:?} is open at its end");
                let stopped = self.last_chunk == "abort";
                let failed = self.last_chunk == "error";
                assert!(stopped || failed || self.last_chunk == "finish", "ended after {}", self.last_chunk);
                self.end = Some(match () {
                    () if stopped => End::Stopped,
                    () if failed => End::Failed("in the stream".to_owned()),
                    () => End::Whole,
                });
            }
            "error" => self.end = Some(End::Failed(frame["code"].as_str().unwrap().to_owned())),
            "no-active" => self.end = Some(End::NoActive),
            other => panic!("unknown {other}: {frame}"),
        }
    }

    fn take_chunk(&mut self, frame: &Value) {
        assert_eq!(frame["sequence"], self.sequence, "{frame} to {self:?}");
        self.sequence += 1;
        let chunk = &frame["chunk"];
        let kind = chunk["type"].as_str().unwrap();
        let number = match frame.get("entry") {
            None => frame["sequence"].as_u64(),
            Some(entry) => entry.as_u64(),
        };
        if chunk["transient"] == true {
            assert_eq!(number, self.last, "{frame} to {self:?}");
            return self.transient.push(kind.to_owned());
        }
        // The model's name may be sent again, with the number of what it belongs to.
        let is_new = number > self.last || (kind == "message-metadata" && number == self.last);
        assert!(is_new, "{frame} twice, to {self:?}");
        self.last = number;
        if let Some(model) = chunk["messageMetadata"]["model"].as_str() {
            self.model = Some(model.to_owned());
        }
        self.gone_on |= chunk["messageMetadata"]["continued"] == 1;
        let id = chunk["id"].as_str().unwrap_or_default();
        match kind {
            "start" => {
                let name = chunk["messageId"].as_str().unwrap().to_owned();
                let known = self.message.get_or_insert_with(|| name.clone());
                assert_eq!(*known, name, "an answer keeps its id");
            }
            "text-start" => assert!(self.open.insert(id.to_owned()), "{frame} to {self:?}"),
            "text-delta" => {
                assert!(self.open.contains(id), "{frame} to {self:?}");
                self.text.push_str(chunk["delta"].as_str().unwrap());
            }
            "reset-step" => {
                self.resets += 1;
                self.text.clear();
                self.open.clear();
            }
            "text-end" => assert!(self.open.remove(id), "{frame} to {self:?}"),
            _ => {}
        }
        kind.clone_into(&mut self.last_chunk);
    }
}
