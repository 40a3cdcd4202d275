//! HEAD, and methods that a route does not have, on both listeners.
use crate::harness::{Gateway, PATIENCE, RawClient};
use std::net::SocketAddr;

/// What every route that reads answers on the public listener, and on the operator's.
const PUBLIC: [&str; 6] = ["/", "/chat", "/api/chat", "/api/config", "/api/chats/none", "/v1/models"];
const OPERATOR: [&str; 4] = ["/livez", "/readyz", "/readyz?verbose", "/health"];

struct Reply {
    head: String,
    body: Vec<u8>,
}

async fn ask(server: SocketAddr, method: &str, path: &str, headers: &str) -> Reply {
    let mut client = RawClient::connect(server).await;
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n{headers}\r\n");
    let head = client.request(&request).await;
    Reply { head, body: client.read_to_end(PATIENCE).await }
}

/// The lines of a head that do not change from one answer to the next, in an order of their own.
fn lasting(head: &str) -> Vec<&str> {
    let changes = ["date:", "set-cookie:"];
    let mut lines: Vec<_> =
        head.lines().filter(|line| !changes.iter().any(|name| line.starts_with(name))).collect();
    lines.sort_unstable();
    lines
}

// faults: K134
#[tokio::test]
async fn head_is_get_without_a_body_and_other_methods_are_refused_with_a_list() {
    let gateway = Gateway::spawn(|config| config.server.ops_listen = Some(([127, 0, 0, 1], 0).into())).await;
    let ops = gateway.ops_address.expect("it was asked for");
    let routes = PUBLIC.map(|path| (gateway.address, path)).into_iter();
    for (server, path) in routes.chain(OPERATOR.map(|path| (ops, path))).chain([(ops, "/metrics")]) {
        let get = ask(server, "GET", path, "").await;
        let head = ask(server, "HEAD", path, "").await;
        assert!(head.body.is_empty(), "{path}: {:?}", head.body);
        if path == "/metrics" {
            assert!(head.head.starts_with("HTTP/1.1 200 "), "{}", head.head); // Its length grows.
        } else {
            assert_eq!(lasting(&get.head), lasting(&head.head), "{path}");
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "ZZ"] {
            let Reply { head, body } = ask(server, method, path, "").await;
            assert!(head.starts_with("HTTP/1.1 405 "), "{method} {path}: {head}");
            assert!(head.contains("\r\nallow: GET, HEAD\r\n"), "{method} {path}: {head}");
            assert!(!body.is_empty(), "{method} {path}");
        }
    }
    for server in [gateway.address, ops] {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let Reply { head, .. } = ask(server, method, "/nowhere", "").await;
            assert!(head.starts_with("HTTP/1.1 404 "), "{method}: {head}");
        }
    }
    gateway.stop().await;
}

// faults: K134
#[tokio::test]
async fn head_opens_no_socket() {
    let gateway = Gateway::spawn(|_| {}).await;
    for path in ["/chat", "/api/chat"] {
        let upgrade = "upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let mut client = RawClient::connect(gateway.address).await;
        let request = format!("HEAD {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n{upgrade}\r\n");
        let head = client.request(&request).await;
        assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
        assert!(client.read_to_end(PATIENCE).await.is_empty(), "{path}");
    }
    assert!(gateway.is_idle());
    gateway.stop().await;
}
