//! Bytes that only look like HTTP, directly and through the real nginx.
use crate::harness::{Nginx, RawClient, Tidegate, handshake, http_get};
use futures_util::future::join_all;
use std::{net::SocketAddr, time::Duration};

/// What must become of a request, behind which another good one comes on the same connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Must {
    /// A status of refusal, then the end: what is behind it gets no answer.
    Refused,
    /// It is as good as the one behind it: two answers.
    Served,
    /// It is as good, but the connection ends with it.
    Last,
    /// No answer is needed before the end.
    Dropped,
}
use Must::{Dropped, Last, Refused, Served};

/// Name, request without its Host line (`@` stands for that), and what must become of it directly and
/// through nginx.
#[expect(clippy::too_many_lines, reason = "a table")]
fn corpus() -> Vec<(&'static str, String, Must, Must)> {
    let get = |headers: &str| format!("GET /livez HTTP/1.1\r\n@\r\n{headers}\r\n");
    let post = |headers: &str, body: &str| format!("POST /livez HTTP/1.1\r\n@\r\n{headers}\r\n{body}");
    let chunked = "0\r\n\r\n";
    vec![
        (
            "length and chunks",
            post("content-length: 6\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\nX"),
            Refused,
            Refused,
        ),
        (
            "chunks and length",
            post("transfer-encoding: chunked\r\ncontent-length: 4\r\n", "5c\r\n"),
            Refused,
            Refused,
        ),
        (
            "chunked twice",
            post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", chunked),
            Refused,
            Refused,
        ),
        (
            "chunked and identity",
            post("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", chunked),
            Refused,
            Refused,
        ),
        ("a list", post("transfer-encoding: chunked, identity\r\n", chunked), Refused, Refused),
        ("xchunked", post("transfer-encoding: xchunked\r\n", chunked), Refused, Refused),
        ("chunke", post("transfer-encoding: chunke\r\n", chunked), Refused, Refused),
        ("chunked after a fold", post("transfer-encoding:\r\n chunked\r\n", chunked), Refused, Refused),
        (
            "chunks in HTTP/1.0",
            "POST /livez HTTP/1.0\r\n@\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            Refused,
            Refused,
        ),
        ("a bad chunk", post("transfer-encoding: chunked\r\n", "zz\r\nhello\r\n0\r\n\r\n"), Refused, Refused),
        (
            "a chunk's extension with LF",
            post("transfer-encoding: chunked\r\n", "5;a\nx\r\nhello\r\n0\r\n\r\n"),
            Refused,
            Refused,
        ),
        ("two lengths", post("content-length: 6\r\ncontent-length: 5\r\n", "hello"), Refused, Refused),
        ("a length twice", post("content-length: 5\r\ncontent-length: 5\r\n", "hello"), Refused, Refused),
        ("+5", post("content-length: +5\r\n", "hello"), Refused, Refused),
        ("-1", post("content-length: -1\r\n", "hello"), Refused, Refused),
        ("5, 5", post("content-length: 5, 5\r\n", "hello"), Refused, Refused),
        ("0x5", post("content-length: 0x5\r\n", "hello"), Refused, Refused),
        ("a huge length", post("content-length: 99999999999999999999\r\n", "hello"), Refused, Refused),
        ("a blank before the colon of a length", post("content-length : 5\r\n", "hello"), Refused, Refused),
        ("a blank before the colon", get("x-a : 1\r\n"), Refused, Refused),
        ("a fold", get("x-a: 1\r\n folded\r\n"), Refused, Refused),
        ("a bare CR", get("x-a: 1\rx-b: 2\r\n"), Refused, Refused),
        ("a NUL", get("x-a: a\0b\r\n"), Refused, Refused),
        ("no name", get(": v\r\n"), Refused, Refused),
        // Both take a single LF for a line end, as RFC 9112 §2.2 lets them, and both alike: nothing can be
        // hidden from one of them.
        ("bare LF", "GET /livez HTTP/1.1\n@\n\n".into(), Served, Served),
        ("a bare LF between headers", get("x-a: 1\nx-b: 2\r\n"), Served, Served),
        ("two hosts", get("host: evil.test\r\n"), Refused, Refused),
        ("the host twice", get("@\r\n"), Refused, Refused),
        ("no host", "GET /livez HTTP/1.1\r\n\r\n".into(), Refused, Refused),
        ("an empty host", "GET /livez HTTP/1.1\r\nhost:\r\n\r\n".into(), Refused, Refused),
        ("a bad host", "GET /livez HTTP/1.1\r\nhost: a b/c@d\r\n\r\n".into(), Refused, Refused),
        ("a host with a user", "GET /livez HTTP/1.1\r\nhost: a@b\r\n\r\n".into(), Refused, Refused),
        (
            "another host in the line",
            "GET http://evil.test/livez HTTP/1.1\r\n@\r\n\r\n".into(),
            Refused,
            Refused,
        ),
        ("a host in the line", "GET http://127.0.0.1/livez HTTP/1.1\r\n@\r\n\r\n".into(), Refused, Refused),
        ("CONNECT", "CONNECT evil.test:443 HTTP/1.1\r\n@\r\n\r\n".into(), Refused, Refused),
        // nginx reads it well, the gateway refuses it and closes, and nginx goes on with its client.
        ("300 headers", get(&(0..300).map(|n| format!("x-{n}: 1\r\n")).collect::<String>()), Refused, Served),
        ("a header of 200 KB", get(&format!("x-a: {}\r\n", "a".repeat(200_000))), Refused, Refused),
        (
            "a target of 200 KB",
            format!("GET /{} HTTP/1.1\r\n@\r\n\r\n", "a".repeat(200_000)),
            Refused,
            Refused,
        ),
        ("HTTP/0.9", "GET /livez\r\n\r\n".into(), Refused, Dropped),
        ("HTTP/2 by surprise", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), Refused, Refused),
        ("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".into(), Refused, Refused),
        ("a blank in the target", "GET /livez /x HTTP/1.1\r\n@\r\n\r\n".into(), Refused, Refused),
        ("a blank before the method", " GET /livez HTTP/1.1\r\n@\r\n\r\n".into(), Refused, Refused),
        // An upgrade that is not agreed to is an ordinary request.
        (
            "h2c",
            get("connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMA\r\n"),
            Last,
            Served,
        ),
    ]
}

/// Handshakes that are good but for what is added.
fn handshakes(here: SocketAddr) -> Vec<(&'static str, String)> {
    let with = |headers: &[(&str, &str)]| handshake(here, headers);
    vec![
        ("with a length", with(&[("content-length", "4")]) + "abcd"),
        ("with chunks", with(&[("transfer-encoding", "chunked")]) + "0\r\n\r\n"),
        (
            "with chunks and length",
            with(&[("transfer-encoding", "chunked"), ("content-length", "3")]) + "0\r\n\r\n",
        ),
        ("with two hosts", with(&[("host", "evil.test")])),
        ("for h2c", with(&[]).replace("upgrade: websocket", "upgrade: h2c")),
        ("for h2c too", with(&[]).replace("upgrade: websocket", "upgrade: websocket, h2c")),
        ("for h2c first", with(&[]).replace("upgrade: websocket", "upgrade: h2c, websocket")),
        ("with a host in the line", with(&[]).replace("/chat", "http://evil.test/chat")),
    ]
}

/// Sends bytes with a good request behind them; the statuses of all answers, and whether the server closed.
async fn play(server: SocketAddr, request: &str) -> (Vec<u16>, bool) {
    let host = format!("host: {server}");
    let bytes = request.replace('@', &host) + &format!("GET /health HTTP/1.1\r\n{host}\r\n\r\n");
    let mut client = RawClient::connect(server).await;
    // It may be refused before it was sent.
    let _ = client.try_write(bytes.as_bytes()).await;
    let mut received = Vec::new();
    let mut closed = false;
    // A server that answers twice does so at once; the end is known when the connection closes.
    while let Ok(read) = tokio::time::timeout(Duration::from_secs(3), client.read_some(&mut received)).await {
        closed = read == 0;
        if closed || statuses(&received).contains(&200) && statuses(&received).len() > 1 {
            break;
        }
    }
    (statuses(&received), closed)
}

fn statuses(received: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(received);
    text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
}

fn is_right(must: Must, statuses: &[u16], closed: bool) -> bool {
    match (must, statuses) {
        (Refused, [400..=499 | 501 | 505]) => closed,
        (Served, [_, 200]) => true,
        (Last, [200]) => closed,
        (Dropped, []) => closed,
        _ => false,
    }
}

// faults: B34
#[tokio::test]
async fn an_ambiguous_request_is_rejected_and_nothing_after_it_is_served() {
    let gateway = Tidegate::new(&["demo", "--listen", "127.0.0.1:0"]).start().await;
    let nginx = Nginx::start(&[gateway.address]).await;
    let corpus = corpus();
    let mut wrong = Vec::new();
    for (leg, server) in [("directly", gateway.address), ("through nginx", nginx.address)] {
        let all = corpus.iter().map(async |(name, request, direct, proxied)| {
            let must = if server == gateway.address { *direct } else { *proxied };
            let (statuses, closed) = play(server, request).await;
            (!is_right(must, &statuses, closed))
                .then(|| format!("{name} {leg}: {must:?} expected, got {statuses:?}, closed: {closed}"))
        });
        wrong.extend(join_all(all).await.into_iter().flatten());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(http_get(nginx.address, "/livez").await.0, 200);
    gateway.stop().await;
}

// faults: B34, B36
#[tokio::test]
async fn an_upgrade_with_something_hidden_in_it_is_refused() {
    let gateway = Tidegate::new(&["demo", "--listen", "127.0.0.1:0"]).start().await;
    let nginx = Nginx::start(&[gateway.address]).await;
    for (name, request) in handshakes(gateway.address) {
        let (statuses, closed) = play(gateway.address, &request).await;
        // What is only not a handshake may be followed by something better.
        let is_right = is_right(Refused, &statuses, closed) || statuses == [400, 200];
        assert!(is_right, "{name}: {statuses:?}, closed: {closed}");
        assert!(!statuses.contains(&101), "{name}");
    }
    // nginx takes a body off, so that the gateway sees none of it; what follows a 101 is for the socket.
    for (name, request) in handshakes(nginx.address) {
        let (statuses, closed) = play(nginx.address, &request).await;
        let is_right = match statuses[..] {
            [101 | 400 | 404 | 413 | 426 | 501] => closed,
            [400 | 413 | 426, 200] => true,
            _ => false,
        };
        assert!(is_right, "{name} through nginx: {statuses:?}, closed: {closed}");
    }
    assert_eq!(gateway.metric("tidegate_connections").await, 0);
    gateway.stop().await;
}
