//! Behaviour of actix that the socket room relies on.
use super::{
    context::SocketContext,
    task::{Bounds, Socket},
};
use crate::protocol::Close;
use actix::prelude::*;
use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

/// Nothing in a test may take longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// An actor on our context that writes the text of each message.
struct Echo {
    handled: Rc<RefCell<Vec<String>>>,
    dropped: Arc<AtomicBool>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Write(String);

#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

impl Actor for Echo {
    type Context = SocketContext<Self>;
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.dropped.store(true, SeqCst);
    }
}

impl Handler<Write> for Echo {
    type Result = ();

    fn handle(&mut self, Write(text): Write, ctx: &mut Self::Context) {
        ctx.text(&text);
        self.handled.borrow_mut().push(text);
    }
}

impl Handler<Stop> for Echo {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.close(Close::Restart);
        ctx.text("nothing follows a close");
    }
}

impl Handler<Panic> for Echo {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("as the test wants");
    }
}

struct Peer {
    actor: Addr<Echo>,
    socket: TcpStream,
    handled: Rc<RefCell<Vec<String>>>,
    dropped: Arc<AtomicBool>,
}

/// An actor on one end of a socket pair.
async fn peer(bounds: Bounds) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (io, _) = listener.accept().await.unwrap();
    socket2::SockRef::from(&io).set_send_buffer_size(16 * 1024).unwrap();
    let (handled, dropped) = (Rc::default(), Arc::default());
    let mut address = None;
    let task = Socket::new(Rc::new(io), b"head".to_vec(), Rc::new(bounds), (), |ctx| {
        address = Some(ctx.address());
        // A stream that never ends keeps the actor alive, as a socket's frames do.
        ctx.add_message_stream(futures_util::stream::pending::<Stop>());
        Echo { handled: Rc::clone(&handled), dropped: Arc::clone(&dropped) }
    });
    actix::spawn(task);
    Peer { actor: address.unwrap(), socket, handled, dropped }
}

const BOUNDS: Bounds = Bounds { high_water: 32 * 1024, slow_client: Duration::from_secs(5) };

#[actix::test]
async fn output_is_written_in_the_same_poll_and_the_close_frame_is_last() {
    let mut peer = peer(BOUNDS).await;
    peer.actor.try_send(Write("a".into())).unwrap();
    peer.actor.try_send(Write("b".repeat(200))).unwrap();
    peer.actor.try_send(Stop).unwrap();
    let mut bytes = Vec::new();
    let read = peer.socket.read_to_end(&mut bytes);
    timeout(PATIENCE, read).await.unwrap().unwrap();
    let mut expected = b"head\x81\x01a\x81\x7e\x00\xc8".to_vec();
    expected.extend([b'b'; 200]);
    expected.extend(b"\x88\x11\x03\xf4service restart");
    assert_eq!(bytes, expected);
    assert!(!peer.actor.connected(), "the mailbox is closed");
}

#[actix::test]
async fn above_the_high_water_mark_the_actor_waits_and_then_processes_everything() {
    let mut peer = peer(BOUNDS).await;
    // More than the kernel accepts for a peer that does not read.
    let text = "x".repeat(100_000);
    let (mut sent, mut refused) = (0, 0);
    while refused < 1_000 {
        match peer.actor.try_send(Write(text.clone())) {
            Ok(()) => (sent, refused) = (sent + 1, 0),
            Err(SendError::Full(_)) => refused += 1,
            Err(SendError::Closed(_)) => panic!("it was cut"),
        }
        tokio::task::yield_now().await;
        assert!(sent < 500, "the mailbox is bounded");
    }
    assert_eq!(sent - peer.handled.borrow().len(), 16, "16 wait in the mailbox, the rest is refused");
    let mut bytes = 0;
    let mut buffer = vec![0; 64 * 1024];
    while bytes < sent * (text.len() + 10) + 4 {
        bytes += timeout(PATIENCE, peer.socket.read(&mut buffer)).await.unwrap().unwrap();
    }
    assert_eq!(peer.handled.borrow().len(), sent);
}

#[actix::test]
async fn a_peer_that_never_reads_is_cut_without_the_actors_help() {
    let slow_client = Duration::from_millis(300);
    let peer = peer(Bounds { slow_client, ..BOUNDS }).await;
    let since = Instant::now();
    peer.actor.send(Write("x".repeat(8 << 20))).await.unwrap();
    while !peer.dropped.load(SeqCst) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(since.elapsed() < PATIENCE, "it is still there");
    }
    assert!(since.elapsed() >= slow_client);
}

#[actix::test]
async fn a_panic_drops_the_actor_and_closes_its_mailbox() {
    let peer = peer(BOUNDS).await;
    assert!(peer.actor.send(Panic).await.is_err());
    assert!(peer.dropped.load(SeqCst) && !peer.actor.connected());
}

/// Relied on by detach messages, permits and ready notices.
#[actix::test]
async fn a_new_address_has_a_place_of_its_own_in_a_full_mailbox() {
    let peer = peer(BOUNDS).await;
    let first = peer.actor.clone();
    let mut taken = 0;
    while first.try_send(Write("x".into())).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 16, "15 places and the sender's own");
    assert!(matches!(first.try_send(Write("x".into())), Err(SendError::Full(_))));
    for _ in 0..100 {
        peer.actor.clone().try_send(Write("y".into())).unwrap();
    }
    let recipient = peer.actor.clone().recipient::<Write>();
    while recipient.try_send(Write("x".into())).is_ok() {}
    recipient.clone().try_send(Write("z".into())).unwrap();
}
