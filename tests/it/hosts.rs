//! Under which names the gateway may be asked: what a page gets whose name a stranger's DNS points here.
use crate::harness::{Gateway, RawClient, Tidegate, get_over, handshake, http_get, until};
use fastrand::Rng;
use futures_util::future::join_all;
use std::{collections::BTreeSet, net::SocketAddr};
use tokio::net::{TcpListener, TcpStream};

const OWN: &str = "chat.example.com";
const PAGES: &str = "https://pages.example.org:8443";

/// The request for a path, as a browser sends it from a page of this origin.
fn request(path: &str, host: &str, origin: &str) -> String {
    let origin = if origin.is_empty() { String::new() } else { format!("origin: {origin}\r\n") };
    match path {
        "/chat" | "/api/chat" => handshake(([127, 0, 0, 1], 1).into(), &[])
            .replacen("/chat", path, 1)
            .replacen("127.0.0.1:1", host, 1)
            .replacen("\r\n\r\n", &format!("\r\n{origin}\r\n"), 1),
        _ => format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{origin}connection: close\r\n\r\n"),
    }
}

async fn status(here: SocketAddr, request: &str) -> u16 {
    let head = RawClient::connect(here).await.request(request).await;
    head[9..12].parse().unwrap()
}

// faults: K137
#[tokio::test]
async fn every_route_of_both_listeners_rejects_a_foreign_name() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ops = taken.local_addr().unwrap();
    drop(taken);
    let (hosts, listen) = (format!("server.hosts={OWN}"), format!("server.ops_listen={ops}"));
    let args = ["demo", "--listen", "127.0.0.1:0", "--set", &hosts, "--set", &listen];
    let gateway = Tidegate::new(&args).start().await;
    let here = gateway.address;
    let public =
        ["/", "/-/ready", "/v1/models", "/api/config", "/api/chats/x", "/chat", "/api/chat", "/none"];
    let operators = ["/livez", "/readyz", "/health", "/metrics", "/none"];
    let mut refused = 0;
    for (address, path) in
        public.map(|path| (here, path)).into_iter().chain(operators.map(|path| (ops, path)))
    {
        for host in ["evil.test", "localhost.evil.test:8000", "127.0.0.1.nip.io", "127.1", "2130706433"] {
            let status = status(address, &request(path, host, &format!("http://{host}"))).await;
            assert_eq!(status, 421, "{path} {host}");
            refused += 1;
        }
        for host in [OWN, "CHAT.EXAMPLE.COM.:8000", "10.1.2.3", "[::1]:8000", "localhost:9", "gateway"] {
            let status = status(address, &request(path, host, "")).await;
            let expected = match path {
                "/chat" | "/api/chat" => 101,
                "/none" | "/api/chats/x" => 404,
                _ => 200,
            };
            assert_eq!(status, expected, "{path} {host}");
        }
    }
    // A browser names a host; HTTP/1.0 need not.
    assert_eq!(status(here, "GET / HTTP/1.0\r\n\r\n").await, 200);
    // The page says what to do, and repeats nothing of the request.
    let stream = TcpStream::connect(here).await.unwrap();
    let (_, head, body) = get_over(stream, "evil.test", "/", &[]).await.unwrap();
    assert!(head.to_lowercase().contains("content-type: text/plain; charset=utf-8"), "{head}");
    for key in ["server.hosts", "TIDEGATE_SERVER__HOSTS=NAME", "HOSTS=NAME docker compose", "server.origins"]
    {
        assert!(body.contains(key), "{key}: {body}");
    }
    assert!(!body.contains("evil"), "{body}");
    let (_, metrics) = http_get(ops, "/metrics").await;
    assert!(metrics.contains(&format!("tidegate_hosts_rejected_total {}\n", refused + 1)), "{metrics}");
    let lines = || gateway.log().lines().filter(|line| line.contains("list it in server.hosts")).count();
    until("it is in the log", async || lines() == 1).await;
    let log = gateway.stop().await;
    assert_eq!(log.matches("list it in server.hosts").count(), 1, "{refused} times, and one line: {log}");
    assert!(!log.contains("evil"), "{log}");
}

/// A name that a stranger can own.
fn strangers_name(random: &mut Rng) -> String {
    let label = |random: &mut Rng| -> String {
        (0..random.usize(1..12)).map(|_| random.alphanumeric().to_ascii_lowercase()).collect()
    };
    let first = label(random);
    let domain = ["com", "test", "dev", "io", "co.uk", "zip", "example.com", "nip.io", "xn--p1ai"];
    let domain = random.choice(domain).unwrap();
    let mut name = match random.u8(0..10) {
        0 => format!("localhost.{first}.{domain}"),
        1 => format!("127.0.0.1.{first}.{domain}"),
        2 => format!("{OWN}.{first}.{domain}"),
        3 => format!("{first}-{OWN}"),
        4 => format!("{first}.{OWN}"),
        5 => format!("{first}.local.{domain}"),
        6 => format!("{first}.{}.127.0.0.1.{domain}", label(random)),
        7 => "pages.example.org.evil.test".to_owned(),
        8 => format!("xn--{first}.{domain}"),
        _ => format!("{first}.{domain}"),
    };
    if random.bool() {
        name = name.chars().map(|c| if random.bool() { c.to_ascii_uppercase() } else { c }).collect();
    }
    if random.u8(0..4) == 0 {
        name.push('.');
    }
    if random.bool() {
        name += &format!(":{}", random.u16(1..));
    }
    name
}

/// Host and origin of a request that a stranger's page has sent.
fn strangers_pair(random: &mut Rng, here: SocketAddr) -> (String, String) {
    let name = strangers_name(random);
    let scheme = random.choice(["http", "https"]).unwrap();
    let own = [here.to_string(), OWN.to_owned(), "localhost:8000".to_owned(), "gateway".to_owned()];
    let own = random.choice(own).unwrap();
    match random.u8(0..6) {
        // The stranger's DNS leads here, so host and origin agree.
        0..3 => (name.clone(), format!("{scheme}://{name}")),
        // It has a page of ours for its origin, or none.
        3 => (name, format!("http://{own}")),
        4 => (name, String::new()),
        // Its page knows our name.
        _ => (own, format!("{scheme}://{name}")),
    }
}

// faults: K137
#[tokio::test]
async fn of_a_thousand_strangers_pages_none_is_answered_and_of_ours_all() {
    let gateway = Gateway::spawn(|config| {
        config.server.hosts = vec![OWN.to_owned()];
        config.connection.idle_timeout = std::time::Duration::from_secs(60);
    })
    .await;
    let here = gateway.address;
    let mut random = Rng::with_seed(137);
    // What is not guarded by the origin needs the host.
    let guarded = ["/chat", "/api/chat", "/api/config"];
    let plain = ["/", "/metrics", "/health", "/readyz", "/v1/models"];
    let mut requests = Vec::new();
    for _ in 0..1_000 {
        let (host, origin) = strangers_pair(&mut random, here);
        let strange = origin.is_empty()
            || host != here.to_string() && ![OWN, "localhost:8000", "gateway"].contains(&host.as_str());
        let path = if strange && random.bool() { random.choice(plain) } else { random.choice(guarded) };
        requests.push(request(path.unwrap(), &host, &origin));
    }
    assert!(requests.iter().collect::<BTreeSet<_>>().len() > 900, "they differ");
    let mut refused = [0; 2];
    for some in requests.chunks(100) {
        for (request, status) in
            some.iter().zip(join_all(some.iter().map(|request| status(here, request))).await)
        {
            assert!(matches!(status, 403 | 421), "{status}: {request}");
            refused[usize::from(status == 421)] += 1;
        }
    }
    assert!(refused[0] > 100 && refused[1] > 500, "{refused:?}");
    let ours = [
        here.to_string(),
        OWN.to_owned(),
        "localhost:8000".to_owned(),
        "[::1]:80".to_owned(),
        "gateway".to_owned(),
    ];
    for host in ours {
        for path in guarded.into_iter().chain(plain) {
            for origin in [String::new(), format!("http://{host}")] {
                let origin = origin.trim_end_matches(":80");
                let status = status(here, &request(path, &host, origin)).await;
                let expected = if path.ends_with("chat") { 101 } else { 200 };
                assert_eq!(status, expected, "{path} {host} {origin}");
            }
        }
    }
    gateway.stop().await;
}

// faults: K137, A2
#[tokio::test]
async fn the_hosts_of_listed_origins_and_the_machines_own_name_are_known() {
    let args = ["demo", "--listen", "127.0.0.1:0", "--set", &format!("server.origins={PAGES}")];
    let gateway = Tidegate::new(&args).start().await;
    let here = gateway.address;
    let own = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    for host in ["pages.example.org", "Pages.example.org:80", &own] {
        assert_eq!(status(here, &request("/health", host, "")).await, 200, "{host}");
    }
    for (host, origin, expected) in [
        ("pages.example.org", PAGES, 101),
        ("127.0.0.1", PAGES, 101),
        ("pages.example.org", "https://pages.example.org", 403),
        ("example.org", PAGES, 421),
    ] {
        assert_eq!(status(here, &request("/chat", host, origin)).await, expected, "{host} {origin}");
    }
    let refused =
        RawClient::connect(here).await.answer(&request("/chat", "localhost", "http://evil.test")).await;
    assert!(refused.contains("allows them with server.origins") && !refused.contains("evil"), "{refused}");
    let log = gateway.stop().await;
    assert_eq!(log.matches("list it in server.origins").count(), 1, "{log}");
}
