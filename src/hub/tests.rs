//! Isolation of panics, and messages between threads.
use super::messages::{Attach, AttachKind, AttachRequest, Push, SessionHandle, SessionMessage, Sink};
use crate::{
    access::Pass,
    app::{self, Gateway, Machine},
    chat::{ChatId, Principal, RequestId, Source, SubscriberId},
    config::Config,
    dispatch::Dispatcher,
    lifecycle::{Lifecycle, Phase},
    protocol::Codec,
    socket::window::SendWindow,
};
use actix::prelude::*;
use futures_util::{SinkExt, StreamExt};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message as Frame;

/// Nothing in a test may take longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the dispatcher panic.
#[derive(Message)]
#[rtype(result = "()")]
struct Boom;

impl Handler<Boom> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Boom, _: &mut Self::Context) {
        panic!("as the test wants");
    }
}

/// Makes a session panic; returns whether it did.
async fn panics(session: &SessionHandle) -> bool {
    let hook = SessionMessage::Test(Box::new(|_, _| panic!("as the test wants")));
    session.send(hook).await.is_err()
}

/// An upstream that accepts a request, sends one delta and stalls; reports when a connection is closed.
async fn silent_upstream(listener: TcpListener, closed: tokio::sync::mpsc::UnboundedSender<()>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let closed = closed.clone();
        actix::spawn(async move {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let event = "data:{\"output\":{\"choices\":[{\"message\":{\"content\":\"He\",\"role\":\"assistant\"},\
                         \"finish_reason\":\"null\"}]},\"request_id\":\"r\"}\n\n";
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{event}\r\n",
                event.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            let _ = closed.send(());
        });
    }
}

async fn gateway() -> (Gateway, tokio::sync::mpsc::UnboundedReceiver<()>) {
    gateway_of(1).await
}

pub(super) async fn gateway_of(workers: usize) -> (Gateway, tokio::sync::mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = gateway_before(&listener, workers).await;
    let (closed, closes) = tokio::sync::mpsc::unbounded_channel();
    actix::spawn(silent_upstream(listener, closed));
    (gateway, closes)
}

pub(super) async fn gateway_before(upstream: &TcpListener, workers: usize) -> Gateway {
    let mut config = Config::default();
    config.server.listen = ([127, 0, 0, 1], 0).into();
    config.server.workers = workers;
    config.server.drain_timeout = Duration::from_secs(1);
    config.upstream.base_url = format!("http://{}", upstream.local_addr().unwrap()).parse().unwrap();
    Gateway::start(app::Settings::new(&config, Machine::here(), false)).await.unwrap()
}

// faults: C44
#[actix::test]
async fn a_panic_in_one_session_closes_its_socket_and_upstream_and_harms_no_other() {
    let (gateway, mut closes) = gateway().await;
    let url = format!("ws://{}/chat", gateway.address);
    let (mut other, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    other.send(Frame::text("hi")).await.unwrap();
    assert_eq!(timeout(PATIENCE, other.next()).await.unwrap().unwrap().unwrap(), Frame::text("He"));
    let bystander = gateway.app_state().registry.of_worker(0, |_| true);
    let (mut victim, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    victim.send(Frame::text("hi")).await.unwrap();
    assert_eq!(timeout(PATIENCE, victim.next()).await.unwrap().unwrap().unwrap(), Frame::text("He"));
    let sessions = gateway.app_state().registry.of_worker(0, |_| true);
    let session = sessions.iter().find(|session| !bystander.iter().any(|other| other.is(session))).unwrap();
    assert!(panics(session).await);
    let Frame::Close(Some(close)) = timeout(PATIENCE, victim.next()).await.unwrap().unwrap().unwrap() else {
        panic!("expected a close");
    };
    assert_eq!(u16::from(close.code), 1011);
    timeout(PATIENCE, closes.recv()).await.unwrap().unwrap();
    assert_eq!(gateway.app_state().registry.len(), 1);
    // The other one is alive: its ping is answered.
    other.send(Frame::Ping(b"x".to_vec().into())).await.unwrap();
    assert_eq!(
        timeout(PATIENCE, other.next()).await.unwrap().unwrap().unwrap(),
        Frame::Pong(b"x".to_vec().into())
    );
    drop((victim, other));
    gateway.stop(std::future::pending()).await;
}

/// A frame of the other dialect.
pub(super) fn request(kind: &str, request: &str, chat: &str) -> Frame {
    let messages = if kind == "send" {
        r#","trigger":"submit-message","messages":[{"id":"m","role":"user","parts":[{"type":"text","text":"hi"}]}]"#
    } else {
        ""
    };
    Frame::text(format!(
        r#"{{"type":"{kind}","requestId":"{request}","id":"{chat}","headers":{{}},"body":{{}}{messages}}}"#
    ))
}

pub(super) type Browser = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<TcpStream>>;

pub(super) async fn open_chats(gateway: &Gateway) -> Browser {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let mut request = format!("ws://{}/api/chat", gateway.address).into_client_request().unwrap();
    let cookie = "tidegate_principal=00112233445566778899aabbccddeeff".parse().unwrap();
    request.headers_mut().insert("cookie", cookie);
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

/// Reads up to the next frame that contains `what`.
pub(super) async fn read_until(socket: &mut Browser, what: &str) -> String {
    loop {
        let frame = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        if let Frame::Text(text) = &frame
            && text.contains(what)
        {
            return text.to_string();
        }
        assert!(!frame.is_close(), "{frame}");
    }
}

// faults: C44
#[actix::test]
async fn a_panic_in_one_chat_fails_its_requests_and_no_other_of_the_socket() {
    let (gateway, mut closes) = gateway().await;
    let mut socket = open_chats(&gateway).await;
    socket.send(request("send", "a", "first")).await.unwrap();
    read_until(&mut socket, "text-delta").await;
    let bystander = gateway.app_state().registry.of_worker(0, |_| true);
    socket.send(request("send", "b", "second")).await.unwrap();
    read_until(&mut socket, "text-delta").await;
    socket.send(request("resume", "c", "second")).await.unwrap();
    read_until(&mut socket, "text-delta").await;
    let sessions = gateway.app_state().registry.of_worker(0, |_| true);
    let session = sessions.iter().find(|session| !bystander.iter().any(|other| other.is(session))).unwrap();
    assert!(panics(session).await);
    let failed = [read_until(&mut socket, "\"error\"").await, read_until(&mut socket, "\"error\"").await];
    assert!(failed.iter().all(|frame| frame.contains("unavailable")), "{failed:?}");
    assert!(failed.iter().any(|frame| frame.contains("\"b\"")), "{failed:?}");
    assert!(failed.iter().any(|frame| frame.contains("\"c\"")), "{failed:?}");
    timeout(PATIENCE, closes.recv()).await.unwrap().unwrap();
    assert_eq!(gateway.app_state().registry.len(), 1);
    // The first chat still works, and the second can be started again.
    socket.send(request("resume", "d", "first")).await.unwrap();
    assert!(read_until(&mut socket, "\"d\"").await.contains("start"));
    socket.send(request("send", "e", "second")).await.unwrap();
    read_until(&mut socket, "text-delta").await;
    drop(socket);
    gateway.stop(std::future::pending()).await;
}

/// A sink that is no connection, as an HTTP response or another replica would be one.
struct Collector {
    pushes: tokio::sync::mpsc::UnboundedSender<Push>,
    window: Arc<SendWindow>,
}

impl Actor for Collector {
    type Context = Context<Self>;
}

impl Handler<Push> for Collector {
    type Result = ();

    fn handle(&mut self, push: Push, _: &mut Self::Context) {
        if let Push::Frames { cost, .. } = push {
            self.window.release(cost);
        }
        self.pushes.send(push).unwrap();
    }
}

#[actix::test]
async fn a_sink_that_is_no_connection_follows_a_chat() {
    let (gateway, _closes) = gateway().await;
    let mut socket = open_chats(&gateway).await;
    socket.send(request("send", "a", "chat")).await.unwrap();
    read_until(&mut socket, "text-delta").await;
    let session = gateway.app_state().registry.of_worker(0, |_| true).remove(0);
    let window = Arc::new(SendWindow::new(1024));
    let (pushes, mut pushed) = tokio::sync::mpsc::unbounded_channel();
    let recipient = Collector { pushes, window: Arc::clone(&window) }.start().recipient();
    let sink = Sink { recipient, window, socket: None };
    let attach = || {
        SessionMessage::Attach(Attach::new(Box::new(AttachRequest {
            subscriber: SubscriberId(7),
            request: RequestId::new("b").unwrap(),
            chat: ChatId::new("chat").unwrap(),
            kind: AttachKind::Resume { turn: None, after: None },
            pass: Pass::new(Principal::new(1), Source::default()),
            account: None,
            codec: Codec::AiSdk,
            sink: sink.clone(),
            returns: 0,
        })))
    };
    let mut next = async || timeout(PATIENCE, pushed.recv()).await.unwrap().unwrap();
    session.notify(attach());
    let mut text = String::new();
    while !text.contains("\"He\"") {
        let Push::Frames { bytes, .. } = next().await else { panic!("frames") };
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    // The sink is notified of the session's end, and an ended session returns requests.
    assert!(panics(&session).await);
    assert!(matches!(next().await, Push::Lost { subscriber: SubscriberId(7) }));
    session.notify(attach());
    assert!(matches!(next().await, Push::Returned(request) if request.subscriber == SubscriberId(7)));
    drop(socket);
    gateway.stop(std::future::pending()).await;
}

/// A session sends to sockets of either thread, and a request to a session that has just ended starts
/// another.
#[actix::test]
async fn a_chat_is_followed_from_another_thread() {
    let (gateway, _closes) = gateway_of(2).await;
    let registry = &gateway.app_state().registry;
    let mut sockets = [open_chats(&gateway).await, open_chats(&gateway).await];
    for (socket, chat) in sockets.iter_mut().zip(["first", "second"]) {
        socket.send(request("send", "own", chat)).await.unwrap();
        read_until(socket, "text-delta").await;
    }
    let homes = [0, 1].map(|worker| registry.of_worker(worker, |_| true).len());
    assert_eq!(homes, [1, 1], "the listener gives its workers sockets in turn");
    for (socket, chat) in sockets.iter_mut().zip(["second", "first"]) {
        socket.send(request("resume", "other", chat)).await.unwrap();
        let frame = read_until(socket, "text-delta").await;
        assert!(frame.contains("\"other\"") && frame.contains("\"He\""), "{frame}");
    }
    drop(sockets);
    gateway.stop(std::future::pending()).await;
}

// faults: C44, G107
#[actix::test]
async fn a_dead_dispatcher_turns_liveness_red_and_ends_the_process() {
    let (gateway, _closes) = gateway().await;
    let get = async |path: &str| {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    };
    assert!(get("/livez").await.starts_with("HTTP/1.1 200 "));
    assert!(gateway.app_state().dispatcher.send(Boom).await.is_err());
    let answer = get("/livez").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(get("/readyz").await.starts_with("HTTP/1.1 503 "));
    assert_eq!(timeout(PATIENCE, gateway.broken()).await.unwrap(), "the dispatcher is dead");
    gateway.stop(std::future::pending()).await;
}

#[test]
fn phases_only_go_forward() {
    let lifecycle = Lifecycle::new(1, 0);
    assert_eq!(lifecycle.phase(), Phase::Starting);
    lifecycle.enter(Phase::Draining);
    lifecycle.enter(Phase::Ready);
    assert_eq!(lifecycle.phase(), Phase::Draining);
}
