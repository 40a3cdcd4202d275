//! What a session does with letters and pushes at moments that no client can choose.
use super::*;
use crate::ws::tests::{Browser, gateway_of, hears, open_chats, request};
use futures_util::{SinkExt, StreamExt};
use std::sync::mpsc;
use tokio_tungstenite::tungstenite::Message as Frame;

/// Nothing in a test may stand still for longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// The session takes no letter any more, and is still found; or it takes them again.
#[derive(Message)]
#[rtype(result = "()")]
struct Bounces(bool);

impl Handler<Bounces> for SessionActor {
    type Result = ();

    fn handle(&mut self, Bounces(bounces): Bounces, _: &mut Self::Context) {
        self.ended = bounces;
    }
}

/// The session's thread stands still until it is told to go on; then the session may end.
#[derive(Message)]
#[rtype(result = "()")]
struct Hold {
    holds: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
    end: bool,
}

impl Handler<Hold> for SessionActor {
    type Result = ();

    fn handle(&mut self, Hold { holds, go_on, end }: Hold, ctx: &mut Self::Context) {
        holds.send(()).unwrap();
        go_on.recv_timeout(PATIENCE).unwrap();
        if end {
            self.end(ctx);
        }
    }
}

async fn hold(session: &Addr<SessionActor>, end: bool) -> mpsc::Sender<()> {
    let ((holds, holding), (go, go_on)) = (mpsc::channel(), mpsc::channel());
    session.try_send(Hold { holds, go_on, end }).unwrap();
    let waited = tokio::task::spawn_blocking(move || holding.recv_timeout(PATIENCE));
    waited.await.unwrap().unwrap();
    go
}

/// A pong says that the socket's thread has seen all that came before.
async fn is_read(socket: &mut Browser) {
    socket.send(Frame::text(r#"{"type":"ping","requestId":"p"}"#)).await.unwrap();
    hears(socket, "pong").await;
}

#[actix::test]
async fn a_letter_to_a_session_that_ends_begins_another() {
    let (gateway, mut closes) = gateway_of(2).await;
    let registry = &gateway.site().registry;
    let mut sockets = [open_chats(&gateway).await, open_chats(&gateway).await];
    sockets[0].send(request("send", "a", "chat")).await.unwrap();
    hears(&mut sockets[0], "text-delta").await;
    let home = usize::from(registry.of_worker(0, |_| true).is_empty());
    let session = registry.of_worker(home, |_| true)[0].upgrade().unwrap();
    let go = hold(&session, true).await;
    // From the other thread, into the mailbox of a session that will not take it.
    sockets[1].send(request("send", "b", "chat")).await.unwrap();
    is_read(&mut sockets[1]).await;
    go.send(()).unwrap();
    assert!(hears(&mut sockets[1], "text-delta").await.contains("\"b\""));
    let ended = tokio::time::timeout(PATIENCE, closes.recv()).await;
    ended.unwrap().unwrap(); // The run of the first one.
    assert_eq!(registry.of_worker(1 - home, |_| true).len(), 1);
    drop((sockets, session));
    gateway.stop(std::future::pending()).await;
}

#[actix::test]
async fn a_letter_that_comes_back_too_often_is_refused_once() {
    let (gateway, _closes) = gateway_of(1).await;
    let mut socket = open_chats(&gateway).await;
    socket.send(request("send", "a", "chat")).await.unwrap();
    hears(&mut socket, "text-delta").await;
    let session = gateway.site().registry.of_worker(0, |_| true)[0].upgrade().unwrap();
    session.send(Bounces(true)).await.unwrap();
    for name in ["b", "c"] {
        socket.send(request("resume", name, "chat")).await.unwrap();
        let Some(Ok(Frame::Text(told))) = socket.next().await else { panic!("a frame") };
        assert!(told.contains("unavailable") && told.contains(&format!("{name:?}")), "{told}");
        is_read(&mut socket).await;
    }
    // It is no request any more: its name is free.
    session.send(Bounces(false)).await.unwrap();
    socket.send(request("resume", "b", "chat")).await.unwrap();
    assert!(hears(&mut socket, "text-delta").await.contains("\"b\""));
    drop((socket, session));
    gateway.stop(std::future::pending()).await;
}
