//! A gateway in this process, on its own thread and free ports, with the simulator behind it.
use super::{Over, PATIENCE, TlsFront, until, within};
use secrecy::SecretString;
use std::{
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};
use tidegate::{
    app,
    config::Config,
    http::AppState,
    runtime::block_on,
    simulator::{self, Stats},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::oneshot,
};

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) ops_address: Option<SocketAddr>,
    pub(crate) app_state: Arc<AppState>,
    /// Of the simulator, or of the test's own upstream.
    pub(crate) upstream_address: SocketAddr,
    stats: Option<Arc<Stats>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<app::Ended>>,
}

struct Started {
    address: SocketAddr,
    ops_address: Option<SocketAddr>,
    app_state: Arc<AppState>,
    upstream_address: SocketAddr,
    stats: Option<Arc<Stats>>,
}

impl Gateway {
    /// Starts a gateway in front of a simulator without pauses. `change` may alter the configuration.
    pub(crate) async fn spawn(change: impl FnOnce(&mut Config)) -> Self {
        Self::spawn_over(Over::Plain, change).await
    }

    /// The same, reached in this way.
    pub(crate) async fn spawn_over(over: Over, change: impl FnOnce(&mut Config)) -> Self {
        Self::start(None, over, change).await
    }

    /// Starts a gateway in front of this upstream.
    pub(crate) async fn in_front_of(upstream: SocketAddr, change: impl FnOnce(&mut Config)) -> Self {
        Self::in_front_over(Over::Plain, upstream, change).await
    }

    /// The same, reached in this way.
    pub(crate) async fn in_front_over(
        over: Over,
        upstream: SocketAddr,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::start(Some(upstream), over, |config| {
            config.upstream.base_url = format!("http://{upstream}/api/v1").parse().unwrap();
            change(config);
        })
        .await
    }

    /// `upstream`: the test's own, or a simulator.
    async fn start(upstream: Option<SocketAddr>, over: Over, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.server.listen = ([127, 0, 0, 1], 0).into();
        config.server.workers = 2;
        config.server.drain_timeout = Duration::from_secs(5);
        config.upstream.model = "sim-chat".into();
        config.upstream.api_key = Some(SecretString::from("sk-test"));
        config.retry.backoff_min = Duration::from_millis(1);
        config.retry.backoff_max = Duration::from_millis(1);
        // Tests with tables of failures would open the breaker, which has tests of its own.
        config.breaker.failures = 0;
        change(&mut config);
        let (started, starting) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            block_on(async move {
                let simulator =
                    upstream.is_none().then(|| simulator::start(simulator::Settings::default()).unwrap());
                if let Some(simulator) = &simulator {
                    config.upstream.base_url = format!("http://{}/api/v1", simulator.addr).parse().unwrap();
                }
                let upstream_address =
                    upstream.or(simulator.as_ref().map(|simulator| simulator.addr)).unwrap();
                let front = match over {
                    Over::Tls => Some(TlsFront::before(upstream_address).await),
                    Over::Plain => None,
                };
                front.iter().for_each(|front| front.apply(&mut config));
                // The test's limits apply, regardless of this process's limit of open files.
                let machine = app::Machine { descriptors: usize::MAX, ..app::Machine::here() };
                let settings = app::Settings::new(&config, machine, false);
                let gateway = app::Gateway::start(settings).await.unwrap();
                let stats = simulator.as_ref().map(|simulator| Arc::clone(simulator.stats()));
                let app_state = Arc::clone(gateway.app_state());
                let (address, ops_address) = (gateway.address, gateway.ops_address);
                started.send(Started { address, ops_address, app_state, upstream_address, stats }).unwrap();
                let _ = stopped.await;
                let ended = gateway.stop(std::future::pending()).await;
                drop(front);
                if let Some(simulator) = simulator {
                    simulator.stop().await;
                }
                ended
            })
            .unwrap()
        });
        let Started { address, ops_address, app_state, upstream_address, stats } =
            tokio::task::spawn_blocking(move || starting.recv_timeout(PATIENCE).unwrap()).await.unwrap();
        Gateway {
            address,
            ops_address,
            app_state,
            upstream_address,
            stats,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn chat_url(&self) -> String {
        format!("ws://{}/chat", self.address)
    }

    /// The statistics of the simulator.
    pub(crate) fn upstream(&self) -> &Stats {
        self.stats.as_ref().unwrap()
    }

    /// The messages of the last request to the simulator: role and content.
    pub(crate) fn last_messages(&self) -> Vec<(String, String)> {
        let body = self.upstream().recorded().last().unwrap().body.clone();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let messages = body["input"]["messages"].as_array().unwrap();
        messages.iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
    }

    /// Sends a plain HTTP request and returns status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        http_get(self.address, path).await
    }

    /// Waits until no session, run or socket is left, then stops and asserts an orderly end.
    pub(crate) async fn stop(mut self) {
        until("every run, session and socket is gone", async || self.is_idle()).await;
        assert_eq!(self.drain().await, app::Ended::Drained);
    }

    /// Stops, even if answers are being written.
    pub(crate) async fn drain(&mut self) -> app::Ended {
        self.stop.take().unwrap().send(()).unwrap();
        let thread = self.thread.take().unwrap();
        let ended = tokio::task::spawn_blocking(move || thread.join().unwrap());
        within("the gateway stops", PATIENCE, ended).await.unwrap()
    }

    /// Starts to stop without waiting for the end.
    pub(crate) fn begin_drain(&mut self) -> tokio::task::JoinHandle<app::Ended> {
        self.stop.take().unwrap().send(()).unwrap();
        let thread = self.thread.take().unwrap();
        tokio::task::spawn_blocking(move || thread.join().unwrap())
    }

    pub(crate) fn is_idle(&self) -> bool {
        let metrics = &self.app_state.metrics;
        self.app_state.lifecycle.sockets() == 0
            && self.app_state.registry.is_empty()
            && metrics.runs.get() == 0
            && metrics.runs_queued.get() == 0
            && metrics.connections.get() == 0
            && metrics.sessions.get() == 0
    }
}

/// Sends `GET` over a new connection and returns status and body.
pub(crate) async fn http_get(address: SocketAddr, path: &str) -> (u16, String) {
    http_try(address, path).await.unwrap()
}

/// The same if there may be no response.
pub(crate) async fn http_try(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (status, _, body) = get_over(stream, &address.to_string(), path, &[]).await?;
    Ok((status, body))
}

/// Sends `GET` with headers and returns status, head and body.
pub(crate) async fn get_with(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, String, String) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    get_over(stream, &address.to_string(), path, headers).await.unwrap()
}

/// The same over an open stream.
pub(crate) async fn get_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> std::io::Result<(u16, String, String)> {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{more}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    within("an HTTP answer", PATIENCE, stream.read_to_string(&mut answer)).await?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((status, head.to_owned(), body.to_owned()))
}
