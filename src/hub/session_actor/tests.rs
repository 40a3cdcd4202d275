//! What a session does with requests and pushes at moments that no client can choose.
use super::*;
use crate::hub::tests::{Browser, gateway_before, gateway_of, open_chats, read_until, request};
use futures_util::{SinkExt, StreamExt};
use std::sync::mpsc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message as Frame;

/// Maximum time that a test blocks a thread.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sets whether the session returns requests as if it had ended; it stays in the registry.
async fn set_ended(session: &SessionHandle, ended: bool) {
    let hook: TestHook = Box::new(move |actor, _| actor.session.set_ended(ended));
    session.send(SessionMessage::Test(hook)).await.unwrap();
}

/// Blocks the session's thread until the returned sender is used; with `end`, the session then ends.
async fn hold(session: &SessionHandle, end: bool) -> mpsc::Sender<()> {
    let ((holds, holding), (go, go_on)) = (mpsc::channel(), mpsc::channel());
    let hook: TestHook = Box::new(move |session, ctx| {
        holds.send(()).unwrap();
        go_on.recv_timeout(PATIENCE).unwrap();
        if end {
            session.feed(ctx, Input::Close);
        }
    });
    session.notify(SessionMessage::Test(hook));
    let waited = tokio::task::spawn_blocking(move || holding.recv_timeout(PATIENCE));
    waited.await.unwrap().unwrap();
    go
}

/// A pong shows that the socket's thread has handled everything sent before.
async fn is_read(socket: &mut Browser) {
    socket.send(Frame::text(r#"{"type":"ping","requestId":"p"}"#)).await.unwrap();
    read_until(socket, "pong").await;
}

#[actix::test]
async fn a_request_to_a_session_that_ends_begins_another() {
    let (gateway, mut closes) = gateway_of(2).await;
    let registry = &gateway.app_state().registry;
    let mut sockets = [open_chats(&gateway).await, open_chats(&gateway).await];
    sockets[0].send(request("send", "a", "chat")).await.unwrap();
    read_until(&mut sockets[0], "text-delta").await;
    let home = usize::from(registry.of_worker(0, |_| true).is_empty());
    let session = registry.of_worker(home, |_| true).remove(0);
    let go = hold(&session, true).await;
    // From the other thread, into the mailbox of a session that will return it.
    sockets[1].send(request("send", "b", "chat")).await.unwrap();
    is_read(&mut sockets[1]).await;
    go.send(()).unwrap();
    assert!(read_until(&mut sockets[1], "text-delta").await.contains("\"b\""));
    let ended = tokio::time::timeout(PATIENCE, closes.recv()).await;
    ended.unwrap().unwrap(); // The run of the first one.
    assert_eq!(registry.of_worker(1 - home, |_| true).len(), 1);
    drop((sockets, session));
    gateway.stop(std::future::pending()).await;
}

#[actix::test]
async fn a_request_that_is_returned_too_often_is_refused_once() {
    let (gateway, _closes) = gateway_of(1).await;
    let mut socket = open_chats(&gateway).await;
    socket.send(request("send", "a", "chat")).await.unwrap();
    read_until(&mut socket, "text-delta").await;
    let session = gateway.app_state().registry.of_worker(0, |_| true).remove(0);
    set_ended(&session, true).await;
    for name in ["b", "c"] {
        socket.send(request("resume", name, "chat")).await.unwrap();
        let Some(Ok(Frame::Text(frame))) = socket.next().await else { panic!("a frame") };
        assert!(frame.contains("unavailable") && frame.contains(&format!("{name:?}")), "{frame}");
        is_read(&mut socket).await;
    }
    // The request is closed: its id may be used again.
    set_ended(&session, false).await;
    socket.send(request("resume", "b", "chat")).await.unwrap();
    assert!(read_until(&mut socket, "text-delta").await.contains("\"b\""));
    drop((socket, session));
    gateway.stop(std::future::pending()).await;
}

/// One answer: its head, then the texts that the test gives, without an end. Later requests get one delta.
async fn upstream(listener: TcpListener, mut texts: tokio::sync::mpsc::UnboundedReceiver<String>) {
    let chunk = |text: &str| {
        let event = format!(
            "data:{{\"output\":{{\"choices\":[{{\"message\":{{\"content\":\"{text}\",\"role\":\"assistant\"}},\
             \"finish_reason\":\"null\"}}]}},\"request_id\":\"r\"}}\n\n"
        );
        format!("{:x}\r\n{event}\r\n", event.len())
    };
    let mut streams = Vec::new();
    while streams.len() < 2 {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(format!("{head}{}", chunk("He ")).as_bytes()).await.unwrap();
        streams.push(stream);
    }
    while let Some(text) = texts.recv().await {
        streams[0].write_all(chunk(&text).as_bytes()).await.unwrap();
    }
}

#[actix::test]
async fn a_session_polls_its_run_until_the_run_ends_or_is_cancelled() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (give, texts) = tokio::sync::mpsc::unbounded_channel();
    let gateway = gateway_before(&listener, 1).await;
    actix::spawn(upstream(listener, texts));
    let mut socket = open_chats(&gateway).await;
    socket.send(request("send", "a", "chat")).await.unwrap();
    read_until(&mut socket, "text-delta").await;
    let session = gateway.app_state().registry.of_worker(0, |_| true).remove(0);
    socket.send(request("send", "b", "other")).await.unwrap();
    read_until(&mut socket, "text-delta").await;
    let polls = async || {
        let (reply, polls) = mpsc::channel();
        let hook: TestHook = Box::new(move |actor, _| {
            reply.send(actor.run.as_ref().map(|(_, local)| local.is_polled_here())).unwrap();
        });
        session.send(SessionMessage::Test(hook)).await.unwrap();
        polls.recv().unwrap()
    };
    assert_eq!(polls().await, Some(true));
    give.send("more ".to_owned()).unwrap();
    read_until(&mut socket, "more ").await;
    assert_eq!(polls().await, Some(true));
    socket.send(Frame::text(r#"{"type":"abort","requestId":"a"}"#)).await.unwrap();
    read_until(&mut socket, "abort").await;
    assert_eq!(polls().await, None);
    timeout(PATIENCE, async {
        while gateway.app_state().metrics.runs.get() > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the slot is free");
    drop((socket, session));
    gateway.stop(std::future::pending()).await;
}

#[actix::test]
async fn a_push_that_a_full_mailbox_refuses_is_encoded_again_without_a_gap() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (give, texts) = tokio::sync::mpsc::unbounded_channel();
    let gateway = gateway_before(&listener, 2).await;
    actix::spawn(upstream(listener, texts));
    let registry = &gateway.app_state().registry;
    let mut sockets = [open_chats(&gateway).await, open_chats(&gateway).await];
    sockets[0].send(request("send", "own", "first")).await.unwrap();
    read_until(&mut sockets[0], "text-delta").await;
    let home = usize::from(registry.of_worker(0, |_| true).is_empty());
    sockets[1].send(request("send", "own", "second")).await.unwrap();
    read_until(&mut sockets[1], "text-delta").await;
    sockets[1].send(request("resume", "far", "first")).await.unwrap();
    let first = read_until(&mut sockets[1], "text-delta").await;
    assert!(first.contains("\"far\""), "{first}");
    let session = registry.of_worker(1 - home, |_| true).remove(0);
    // The thread of the second socket is blocked; pushes to it fill its mailbox.
    let go = hold(&session, false).await;
    let words: Vec<_> = (0..60).map(|n| format!("w{n} ")).collect();
    for word in &words {
        give.send(word.clone()).unwrap();
        read_until(&mut sockets[0], word).await;
    }
    go.send(()).unwrap();
    let sequence = |frame: &str| -> u64 {
        let frame: serde_json::Value = serde_json::from_str(frame).unwrap();
        frame["sequence"].as_u64().unwrap()
    };
    let (mut next, mut received, mut frames) = (sequence(&first) + 1, String::new(), 0);
    while received != words.concat() {
        let frame = read_until(&mut sockets[1], "\"far\"").await;
        assert_eq!(sequence(&frame), next, "{frame}");
        let frame: serde_json::Value = serde_json::from_str(&frame).unwrap();
        received.push_str(frame["chunk"]["delta"].as_str().unwrap());
        assert!(words.concat().starts_with(&received), "{received}");
        (next, frames) = (next + 1, frames + 1);
    }
    assert!(frames < 60, "the mailbox was full");
    drop((sockets, session));
    gateway.stop(std::future::pending()).await;
}
