//! The upstream over TLS: an authority of its own is trusted, everything else is refused.
use crate::harness::{
    Authority, Gateway, PATIENCE, TestClient, event, good_answer, read_request, sse_head, until, within,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tempfile::TempDir;
use tidegate::{chat::RunErrorKind as Kind, config::Config};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What listens on the upstream's port.
#[derive(Clone)]
enum Listener {
    Tls(TlsAcceptor),
    /// Answers one request of a connection, and the next one with a reset.
    TlsOnce(TlsAcceptor),
    PlainHttp,
    /// Accepts, and says nothing.
    Stalled,
}

/// An upstream on localhost that answers "over TLS", and counts.
struct TlsUpstream {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl TlsUpstream {
    async fn serve(kind: Listener) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, asked) = (Arc::clone(&connections), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                tokio::spawn(answer(kind.clone(), stream, Arc::clone(&asked)));
            }
        });
        TlsUpstream { port, connections, requests, task }
    }

    /// A gateway that is to reach it as `https://{host}`.
    async fn gateway(&self, host: &str, change: impl FnOnce(&mut Config)) -> Gateway {
        let base_url = format!("https://{host}:{}/api/v1", self.port);
        Gateway::in_front_of(([127, 0, 0, 1], self.port).into(), |config| {
            config.upstream.base_url = base_url.parse().unwrap();
            change(config);
        })
        .await
    }
}

impl Drop for TlsUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(kind: Listener, stream: TcpStream, requests: Arc<AtomicUsize>) {
    match kind {
        Listener::Tls(acceptor) => {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while read_request(&mut stream).await.is_ok() {
                requests.fetch_add(1, SeqCst);
                stream.write_all(good_answer("over TLS").as_bytes()).await.unwrap();
            }
        }
        Listener::TlsOnce(acceptor) => {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            read_request(&mut stream).await.unwrap();
            requests.fetch_add(1, SeqCst);
            stream.write_all(good_answer("over TLS").as_bytes()).await.unwrap();
            if read_request(&mut stream).await.is_ok() {
                socket2::SockRef::from(stream.get_ref().0).set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
        Listener::PlainHttp => {
            let mut stream = stream;
            let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
            // What the gateway says is read, so that the answer is not lost to a reset.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
        Listener::Stalled => {
            let mut stream = stream;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
    }
}

#[tokio::test]
async fn an_upstream_with_an_authority_of_its_own_is_reached_over_tls() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    for host in ["localhost", "127.0.0.1"] {
        let upstream = TlsUpstream::serve(Listener::Tls(authority.server(host, 4000))).await;
        let file = authority.pem_file(&folder);
        let gateway = upstream.gateway(host, |config| config.upstream.ca_file = Some(file)).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        for _ in 0..2 {
            client.send_text("hi").await;
            client.expect("over TLS").await;
        }
        assert_eq!(upstream.requests.load(SeqCst), 2);
        assert_eq!(upstream.connections.load(SeqCst), 1, "the connection is used again");
        client.close().await;
        gateway.stop().await;
    }
}

// faults: K141
#[tokio::test]
async fn a_kept_connection_over_tls_that_died_costs_no_answer() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let upstream = TlsUpstream::serve(Listener::TlsOnce(authority.server("localhost", 4000))).await;
    let file = authority.pem_file(&folder);
    let gateway = upstream
        .gateway("localhost", |config| {
            config.upstream.ca_file = Some(file);
            config.server.workers = 1;
            config.retry.attempts = 1;
            config.retry.budget_percent = 0;
        })
        .await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    // More of them than the budget would bear.
    for _ in 0..12 {
        client.send_text("hi").await;
        client.expect("over TLS").await;
    }
    assert_eq!(gateway.app_state.metrics.upstream_dead_connections.get(), 11);
    assert_eq!((upstream.requests.load(SeqCst), upstream.connections.load(SeqCst)), (12, 12));
    client.close().await;
    gateway.stop().await;
}

// faults: D50
#[tokio::test]
async fn a_server_that_cannot_be_trusted_is_not_talked_to() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let trusted = Some(authority.pem_file(&folder));
    let foreign = Authority::new().server("localhost", 4000);
    for (what, listener, ca_file) in [
        ("public authorities alone", Listener::Tls(authority.server("localhost", 4000)), None),
        ("an unknown authority", Listener::Tls(foreign), trusted.clone()),
        ("another name", Listener::Tls(authority.server("other.test", 4000)), trusted.clone()),
        ("expired", Listener::Tls(authority.server("localhost", 2001)), trusted.clone()),
        ("plain HTTP", Listener::PlainHttp, trusted),
    ] {
        let upstream = TlsUpstream::serve(listener).await;
        let gateway = upstream.gateway("localhost", |config| config.upstream.ca_file = ca_file).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("hi").await;
        let error = client.read_text().await;
        assert_eq!(error, "Error: No safe connection to the model service. Tell the operator.", "{what}");
        assert_eq!(upstream.connections.load(SeqCst), 1, "{what}: tried once");
        assert_eq!(upstream.requests.load(SeqCst), 0, "{what}: nothing was sent");
        client.close().await;
        gateway.stop().await;
    }
}

// faults: D50
#[tokio::test]
async fn a_handshake_that_stalls_is_tried_once_more() {
    let upstream = TlsUpstream::serve(Listener::Stalled).await;
    let gateway = upstream
        .gateway("localhost", |config| config.upstream.connect_timeout = Duration::from_millis(200))
        .await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("hi").await;
    let error = client.read_text().await;
    assert_eq!(error, "Error: The model service cannot be reached. Try again later.");
    assert_eq!(upstream.connections.load(SeqCst), 2);
    client.close().await;
    gateway.stop().await;
}

/// A service over TLS whose every byte is the test's, and a gateway with one worker that reaches it by this name.
struct Service {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    port: u16,
    gateway: Gateway,
}

impl Service {
    async fn start(host: &str) -> Self {
        let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
        let mut server = authority.server_config(host, 4000);
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (port, file) = (address.port(), authority.pem_file(&folder));
        let gateway = Gateway::in_front_of(address, |config| {
            config.upstream.base_url = format!("https://{host}:{port}/api/v1").parse().unwrap();
            config.upstream.ca_file = Some(file);
            config.server.workers = 1;
        })
        .await;
        Service { listener, acceptor: TlsAcceptor::from(Arc::new(server)), port, gateway }
    }

    async fn accept(&self) -> TlsStream<TcpStream> {
        let (tcp, _) = within("a connection", PATIENCE, self.listener.accept()).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        within("a handshake", PATIENCE, self.acceptor.accept(tcp)).await.unwrap()
    }
}

/// The beginning of an answer.
fn beginning(text: &str) -> String {
    let event = event(text, "null");
    format!("{}{:x}\r\n{event}\r\n", sse_head(), event.len())
}

// faults: E85
#[tokio::test]
async fn a_connection_over_tls_names_its_host_speaks_http_1_and_says_when_it_ends() {
    for (host, name) in [("localhost", Some("localhost")), ("127.0.0.1", None)] {
        let service = Service::start(host).await;
        let mut client = TestClient::connect(&service.gateway.chat_url()).await;
        client.send_text("hi").await;
        let mut connection = service.accept().await;
        let (_, session) = connection.get_ref();
        assert_eq!(session.alpn_protocol(), Some(b"http/1.1".as_slice()));
        assert_eq!(session.server_name(), name);
        let (head, _) = read_request(&mut connection).await.unwrap();
        assert!(head.contains(&format!("\r\nhost: {host}:{}\r\n", service.port)), "{head}");
        connection.write_all(beginning("He").as_bytes()).await.unwrap();
        client.expect("He").await;
        // Without `close_notify` this would be an error.
        drop(client);
        let rest = within("the end", PATIENCE, connection.read_to_end(&mut Vec::new())).await;
        assert_eq!(rest.unwrap(), 0);
        service.gateway.stop().await;
    }
}

// faults: E80, E81
#[tokio::test]
async fn an_answer_over_tls_that_is_cut_off_is_interrupted() {
    let service = Service::start("localhost").await;
    let mut client = TestClient::connect(&service.gateway.chat_url()).await;
    for (way, shown) in [("after text", "He"), ("behind the head", "")] {
        client.send_text("hi").await;
        // An answer without text is asked for again.
        for _ in 0..if shown.is_empty() { 2 } else { 1 } {
            let mut connection = service.accept().await;
            read_request(&mut connection).await.unwrap();
            let sent = if shown.is_empty() { sse_head().to_owned() } else { beginning(shown) };
            connection.write_all(sent.as_bytes()).await.unwrap();
            if !shown.is_empty() {
                client.expect(shown).await;
            }
            // TCP alone ends.
            drop(connection);
        }
        assert_eq!(client.fails(Kind::Interrupted).await, "", "{way}");
    }
    client.close().await;
    service.gateway.stop().await;
}

// faults: E86, K151
#[tokio::test]
async fn what_comes_late_over_tls_does_not_reach_the_next_answer() {
    let service = Service::start("localhost").await;
    let mut client = TestClient::connect(&service.gateway.chat_url()).await;
    for late in [good_answer("late").into_bytes(), b"\n".to_vec()] {
        client.send_text("one").await;
        let mut first = service.accept().await;
        read_request(&mut first).await.unwrap();
        first.write_all(good_answer("first").as_bytes()).await.unwrap();
        client.expect("first").await;
        until("the run is over", async || service.gateway.app_state.metrics.runs.get() == 0).await;
        first.write_all(&late).await.unwrap();
        client.send_text("two").await;
        let mut second = service.accept().await;
        read_request(&mut second).await.unwrap();
        second.write_all(good_answer("second").as_bytes()).await.unwrap();
        client.expect("second").await;
        until("the run is over", async || service.gateway.app_state.metrics.runs.get() == 0).await;
        second.shutdown().await.unwrap();
    }
    client.close().await;
    service.gateway.stop().await;
}
