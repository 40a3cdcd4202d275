//! Gateways that are replaced or freeze, for clients that only speak WebSocket, with the real nginx and the
//! shipped files: no other request tells nginx how its gateways are.
use crate::harness::{
    Nginx, Process, RawClient, SOON, Stopwatch, Tidegate, handshake, on_a_steady_machine, short_or_long,
    until, within,
};
use fastrand::Rng;
use futures_util::{StreamExt, future::join_all};
use std::{
    cell::{Cell, RefCell},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest, http::header},
};

const USERS: usize = 80;
/// The page gives an opening up after this (web/src/connection/socket.ts).
const OPENING: Duration = Duration::from_secs(8);

async fn demo(listen: &str) -> Process {
    let args = ["demo", "--listen", listen, "--set", "server.trusted_proxies=127.0.0.1"];
    Tidegate::new(&args).start().await
}

/// A browser with nothing but its socket.
struct User {
    /// nginx counts handshakes by address.
    here: Ipv4Addr,
    nginx: SocketAddr,
    cookies: RefCell<String>,
    open: Cell<bool>,
    /// Sockets that it had.
    opened: Cell<u32>,
    /// Handshakes that were refused since `forget`.
    refused: Cell<u32>,
    /// From the end of a socket to the next one.
    longest_gap: Cell<Duration>,
}

impl User {
    fn new(number: usize, nginx: SocketAddr) -> Self {
        User {
            here: Ipv4Addr::new(127, 5, 0, number as u8 + 1),
            nginx,
            cookies: RefCell::default(),
            open: Cell::default(),
            opened: Cell::default(),
            refused: Cell::default(),
            longest_gap: Cell::default(),
        }
    }

    /// One handshake.
    async fn try_open(&self) -> Option<WebSocketStream<TcpStream>> {
        let tcp = TcpSocket::new_v4().unwrap();
        tcp.bind((self.here, 0).into()).unwrap();
        let stream = tcp.connect(self.nginx).await.unwrap();
        let mut request = format!("ws://{}/api/chat", self.nginx).into_client_request().unwrap();
        request.headers_mut().insert(header::COOKIE, self.cookies.borrow().parse().unwrap());
        match timeout(OPENING, client_async(request, stream)).await {
            Ok(Ok((socket, answer))) => {
                let set = answer.headers().get_all(header::SET_COOKIE).iter();
                let pairs: Vec<_> = set.map(|set| set.to_str().unwrap().split(';').next().unwrap()).collect();
                if self.cookies.borrow().is_empty() {
                    self.cookies.replace(pairs.join("; "));
                }
                return Some(socket);
            }
            Ok(Err(Error::Http(answer))) => assert_eq!(answer.status(), 503),
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => {}
        }
        self.refused.set(self.refused.get() + 1);
        None
    }

    /// Opens a socket and comes back whenever it ends, as the page does (web/src/connection/backoff.ts).
    async fn live(&self) {
        let mut rng = Rng::with_seed(u64::from(self.here.to_bits()));
        let mut lost = None;
        loop {
            let (mut attempt, mut least) = (0, 300);
            let mut socket = loop {
                if lost.is_some() {
                    let bound = (250 << attempt).min(30_000);
                    sleep(Duration::from_millis(least + rng.u64(0..=bound))).await;
                }
                match self.try_open().await {
                    Some(socket) => break socket,
                    None => (attempt, least, lost) = (attempt + 1, 0, lost.or(Some(Stopwatch::start()))),
                }
            };
            let gap = lost.map_or(Duration::ZERO, |lost: Stopwatch| lost.took().net());
            self.longest_gap.set(self.longest_gap.get().max(gap));
            self.opened.set(self.opened.get() + 1);
            self.open.set(true);
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Close(Some(frame)) = message {
                    assert_eq!(u16::from(frame.code), 1012);
                }
            }
            self.open.set(false);
            lost = Some(Stopwatch::start());
        }
    }
}

fn open(users: &[User]) -> usize {
    users.iter().filter(|user| user.open.get()).count()
}

/// Replaces one gateway: it is gone until its users have come back elsewhere.
async fn replace(gateway: Process, users: &[User]) -> Process {
    let address = gateway.address.to_string();
    let before = users.iter().map(|user| user.opened.get()).sum::<u32>();
    let here = gateway.metric("tidegate_connections").await as u32;
    assert!(here > 0, "it has users to lose");
    gateway.stop().await;
    let back = async || users.iter().map(|user| user.opened.get()).sum::<u32>() >= before + here;
    until("its users are back", async || back().await && open(users) == USERS).await;
    let again = demo(&address).await;
    sleep(short_or_long(Duration::ZERO, Duration::from_secs(20))).await;
    again
}

// faults: K135
#[tokio::test]
async fn users_with_nothing_but_sockets_are_back_at_once_after_a_rolling_restart() {
    on_a_steady_machine(async || {
    let (first, second) = (demo("127.0.0.1:0").await, demo("127.0.0.1:0").await);
    let nginx = Nginx::start(&[first.address, second.address]).await;
    let users: Vec<_> = (0..USERS).map(|number| User::new(number, nginx.address)).collect();
    let roll = async {
        until("all are there", async || open(&users) == USERS).await;
        // One after the other without a pause (LONG=1: 20 s): what nginx may hold against the first, it needs now.
        let first = replace(first, &users).await;
        let second = replace(second, &users).await;
        let first = replace(first, &users).await;
        (first, second)
    };
    let (first, second) = tokio::select! {
        gateways = within("all are replaced", short_or_long(Duration::from_secs(60), Duration::from_secs(300)), roll) => gateways,
        _ = join_all(users.iter().map(User::live)) => unreachable!("they live on"),
    };
    let gap = users.iter().map(|user| user.longest_gap.get()).max().unwrap();
    let refused: Vec<_> = users.iter().map(|user| user.refused.get()).collect();
    println!(
        "longest gap {gap:?}, refused handshakes {}, at most {:?} a user",
        refused.iter().sum::<u32>(),
        refused.iter().max()
    );
    assert!(gap < Duration::from_secs(5), "{gap:?}");
    assert!(refused.iter().all(|refused| *refused <= 2), "{refused:?}");
    for gateway in [first, second] {
        gateway.stop().await;
    }
    })
    .await;
}

// faults: K136
#[tokio::test]
async fn users_with_nothing_but_sockets_leave_a_frozen_gateway() {
    on_a_steady_machine(async || {
        let (frozen, alive) = (demo("127.0.0.1:0").await, demo("127.0.0.1:0").await);
        let nginx = Nginx::start(&[frozen.address, alive.address]).await;
        let users: Vec<_> = (0..USERS).map(|number| User::new(number, nginx.address)).collect();
        let all_open = async |what: &str| {
            let watch = Stopwatch::start();
            let sockets = join_all(users.iter().map(User::try_open)).await;
            println!("{what}: {USERS} sockets after {:?}", watch.took());
            assert!(watch.took().is_in(..Duration::from_secs(6)), "{what}: {:?}", watch.took());
            assert!(sockets.iter().all(Option::is_some), "{what}");
            sockets
        };
        let before = all_open("both well").await;
        assert!(frozen.metric("tidegate_connections").await > 10, "each has its users");
        frozen.signal("STOP").await;
        // Whose socket is silent opens another; nothing has marked the frozen one.
        drop(before);
        drop(all_open("frozen").await);
        drop(all_open("frozen for a while").await);
        frozen.signal("CONT").await;
        until("it is empty", async || frozen.metric("tidegate_connections").await == 0).await;
        let again = all_open("well again").await;
        assert!(frozen.metric("tidegate_connections").await > 10, "it has its users back at once");
        drop(again);
        // Both away: a quick refusal that says when to come back.
        for gateway in [frozen, alive] {
            gateway.kill().await;
        }
        let watch = Stopwatch::start();
        let head = RawClient::connect(nginx.address).await.request(&handshake(nginx.address, &[])).await;
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After: 5"), "{head}");
        assert!(watch.took().is_in(..SOON), "{:?}", watch.took());
    })
    .await;
}
