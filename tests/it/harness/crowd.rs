//! Many clients at once: sessions from chosen addresses, load at a steady rate, and the measured results.
use super::{PATIENCE, TestClient, handshake, until, within};
use futures_util::future::join_all;
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, sleep_until, timeout},
};

/// Whether the long variants are to run (`LONG=1 cargo test --release --test it overload::`): a minute instead of seconds,
/// more sockets, and the limits of the design instead of those of a busy machine.
fn long() -> bool {
    #[expect(clippy::disallowed_methods, reason = "for the test, not for the gateway")]
    std::env::var_os("LONG").is_some_and(|long| long != "0")
}

/// The value for the short or the long variant of a test.
pub(crate) fn short_or_long<T>(short: T, at_length: T) -> T {
    if long() { at_length } else { short }
}

/// The result of one turn.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// When it was asked, from the start of the load.
    pub(crate) asked: Duration,
    /// Time to the first text or to the error.
    pub(crate) first: Duration,
    pub(crate) whole: Duration,
    /// The error that ended it.
    pub(crate) error: Option<String>,
}

impl Turn {
    pub(crate) fn is_good(&self) -> bool {
        self.error.is_none()
    }
}

/// Sessions that take turns in asking.
pub(crate) struct Crowd {
    idle: Arc<Mutex<Vec<TestClient>>>,
    size: usize,
}

impl Crowd {
    /// Opens `size` sessions, each from the address that `address` returns.
    pub(crate) async fn connect(
        gateway: SocketAddr,
        size: usize,
        address: impl Fn(usize) -> [u8; 4],
    ) -> Self {
        let mut idle = Vec::with_capacity(size);
        let numbers: Vec<_> = (0..size).collect();
        for some in numbers.chunks(100) {
            idle.extend(join_all(some.iter().map(|n| TestClient::from(gateway, address(*n).into()))).await);
        }
        Crowd { idle: Arc::new(Mutex::new(idle)), size }
    }

    /// Asks `message` at a steady rate, regardless of how the turns end; a good answer ends with `last`. Returns when all
    /// turns have ended.
    pub(crate) async fn ask(&self, per_second: f64, time: Duration, message: &str, last: &str) -> Vec<Turn> {
        self.ask_in_turn(per_second, time, &[(message.to_owned(), last.to_owned())]).await
    }

    /// The same with several messages in turn.
    pub(crate) async fn ask_in_turn(
        &self,
        per_second: f64,
        time: Duration,
        messages: &[(String, String)],
    ) -> Vec<Turn> {
        let start = Instant::now();
        let asked = (time.as_secs_f64() * per_second) as u32;
        let turns: Arc<Mutex<Vec<Turn>>> = Arc::default();
        for n in 0..asked {
            sleep_until(start + Duration::from_secs_f64(f64::from(n) / per_second)).await;
            // The session that has been idle longest.
            let client = {
                let mut idle = self.idle.lock().unwrap();
                (!idle.is_empty()).then(|| idle.remove(0))
            };
            let mut client = client.expect("a session is idle: the crowd is large enough");
            let (idle, turns) = (Arc::clone(&self.idle), Arc::clone(&turns));
            let (message, last) = messages[n as usize % messages.len()].clone();
            tokio::spawn(async move {
                let turn = client.turn(start, &message, &last).await;
                turns.lock().unwrap().push(turn);
                idle.lock().unwrap().push(client);
            });
        }
        until("every turn has an end", async || turns.lock().unwrap().len() == asked as usize).await;
        Arc::into_inner(turns).map_or_else(Vec::new, |turns| turns.into_inner().unwrap())
    }

    /// Closes all sessions, after a turn of each that must succeed.
    pub(crate) async fn close(self) {
        let clients = std::mem::take(&mut *self.idle.lock().unwrap());
        assert_eq!(clients.len(), self.size);
        join_all(clients.into_iter().map(async |client| client.close_quietly().await)).await;
    }
}

impl TestClient {
    /// Connects from an address of this machine.
    pub(crate) async fn from(gateway: SocketAddr, address: IpAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        let stream = within("the gateway takes a socket", PATIENCE, socket.connect(gateway)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(&format!("ws://{gateway}/chat"), stream).await
    }

    /// One turn, however it ends.
    pub(crate) async fn turn(&mut self, start: Instant, message: &str, last: &str) -> Turn {
        let asked = Instant::now();
        self.send_text(message).await;
        let (mut first, mut received) = (None, String::new());
        let error = loop {
            let text = self.read_text().await;
            first.get_or_insert(asked.elapsed());
            if text.starts_with("Error: ") {
                break Some(text);
            }
            received.push_str(&text);
            if received.ends_with(last) {
                break None;
            }
        };
        let whole = asked.elapsed();
        self.forget();
        Turn { asked: asked - start, first: first.unwrap_or(whole), whole, error }
    }

    /// Closes the session; nothing but the close frame may be received.
    async fn close_quietly(mut self) {
        self.send(tokio_tungstenite::tungstenite::Message::Close(None)).await;
        let last = self.next().await;
        assert!(last.is_close(), "a turn had a second end: {last}");
    }
}

/// Opens `/chat` `size` times, spread over `time`, as pages do that reconnect after an outage: a client that is rejected
/// retries after a random pause. Returns the sockets, and how long each took.
pub(crate) async fn come_back(
    gateway: SocketAddr,
    size: usize,
    time: Duration,
) -> (Vec<TcpStream>, Vec<Duration>) {
    let start = Instant::now();
    let comers = (0..size).map(|n| {
        tokio::spawn(async move {
            sleep_until(start + time.mul_f64(n as f64 / size as f64)).await;
            let since = Instant::now();
            loop {
                if let Ok(Some(stream)) = timeout(Duration::from_secs(8), open(gateway)).await {
                    return (stream, since.elapsed());
                }
                sleep(Duration::from_millis(500).mul_f64(fastrand::f64())).await;
            }
        })
    });
    let back = join_all(comers.collect::<Vec<_>>()).await;
    back.into_iter().map(Result::unwrap).unzip()
}

async fn open(gateway: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(gateway).await.ok()?;
    stream.write_all(handshake(gateway, &[]).as_bytes()).await.ok()?;
    let (mut answer, mut read) = ([0; 1024], 0);
    while !answer[..read].ends_with(b"\r\n\r\n") {
        read += stream.read(&mut answer[read..]).await.ok().filter(|read| *read > 0)?;
    }
    answer.starts_with(b"HTTP/1.1 101 ").then_some(stream)
}

/// The given quantile of some durations.
pub(crate) fn quantile(times: impl Iterator<Item = Duration>, quantile: f64) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort();
    let at = ((times.len() as f64 * quantile).ceil() as usize).clamp(1, times.len().max(1)) - 1;
    times.get(at).copied().unwrap_or_default()
}
