//! The way to the model service through an HTTP proxy.
use crate::harness::{Gateway, Over, ScriptedUpstream, TestClient, is_error, read_request};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tidegate::{
    chat::RunErrorKind,
    config::{Config, ProxyChoice},
    upstream::client::Proxy,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A proxy that opens tunnels, or always gives the same answer. It records every byte that it can read.
struct TestProxy {
    address: SocketAddr,
    /// The requests for a tunnel.
    asked: Arc<Mutex<Vec<String>>>,
    /// What passed through the tunnels, from the gateway.
    passed: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl TestProxy {
    async fn start(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, passed) = (Arc::default(), Arc::default());
        let (heads, bytes) = (Arc::clone(&asked), Arc::clone(&passed));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(tunnel(stream, answer, Arc::clone(&heads), Arc::clone(&bytes)));
            }
        });
        TestProxy { address, asked, passed, task }
    }

    fn configure(&self, config: &mut Config, credentials: Option<&str>) {
        let credentials = credentials.map(Into::into);
        let (host, port) = (self.address.ip().to_string(), self.address.port());
        config.upstream.proxy = ProxyChoice::Through(Proxy { host, port, credentials });
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn tunnel(
    mut stream: TcpStream,
    answer: Option<&'static str>,
    asked: Arc<Mutex<Vec<String>>>,
    passed: Arc<Mutex<Vec<u8>>>,
) {
    let Ok((head, _)) = read_request(&mut stream).await else { return };
    let target = head.split(' ').nth(1).unwrap().to_owned();
    asked.lock().unwrap().push(head);
    if let Some(answer) = answer {
        let _ = stream.write_all(answer.as_bytes()).await;
        return;
    }
    let Ok(mut upstream) = TcpStream::connect(target).await else { return };
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let ((mut from, mut to), (mut up_from, mut up_to)) = (stream.split(), upstream.split());
    let there = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read) = from.read(&mut buffer).await {
            passed.lock().unwrap().extend_from_slice(&buffer[..read]);
            if read == 0 || up_to.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    let back = tokio::io::copy(&mut up_from, &mut to);
    tokio::select! {
        () = there => {}
        _ = back => {}
    }
}

#[tokio::test]
async fn answers_come_through_a_tunnel_in_which_the_proxy_reads_nothing() {
    let proxy = TestProxy::start(None).await;
    let gateway = Gateway::spawn_over(Over::Tls, |config| proxy.configure(config, Some("user:pass"))).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    for _ in 0..2 {
        client.send_text("/sim text=fine").await;
        client.expect("fine").await;
    }
    client.close().await;
    gateway.stop().await;
    let asked = proxy.asked.lock().unwrap().clone();
    let [asked] = &asked[..] else { panic!("one tunnel is used twice: {asked:?}") };
    assert!(asked.starts_with("connect localhost:") && asked.contains("\r\nhost: localhost:"), "{asked}");
    // As the harness lowers it: base64 of user:pass.
    assert!(asked.contains("\r\nproxy-authorization: basic dxnlcjpwyxnz\r\n"), "{asked}");
    assert!(!asked.contains("sk-test"));
    let passed = String::from_utf8_lossy(&proxy.passed.lock().unwrap()).into_owned();
    assert!(
        passed.len() > 500 && !passed.contains("sk-test") && !passed.contains("POST"),
        "all of it is TLS"
    );
}

#[tokio::test]
async fn a_proxy_that_refuses_ends_the_run_and_nothing_is_sent_past_it() {
    for (answer, kind) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", RunErrorKind::NotSetUp),
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", RunErrorKind::UpstreamUnreachable),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", RunErrorKind::UpstreamUnreachable),
        ("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n", RunErrorKind::UpstreamUnreachable),
        ("220 mail.example ESMTP\r\n\r\n", RunErrorKind::UpstreamUnreachable),
        ("", RunErrorKind::UpstreamUnreachable),
    ] {
        let (proxy, upstream) = (TestProxy::start(Some(answer)).await, ScriptedUpstream::bind().await);
        let gateway = Gateway::in_front_of(upstream.address, |config| {
            proxy.configure(config, None);
            config.retry.attempts = 1;
        })
        .await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("hi").await;
        let error = client.read_text().await;
        assert!(is_error(&error, kind), "{answer:?}: {error}");
        client.close().await;
        gateway.stop().await;
        assert!(!proxy.asked.lock().unwrap().iter().any(|head| head.contains("sk-test")));
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, upstream.accept()).await;
        assert!(waiting.is_err(), "no connection past the proxy");
    }
}
