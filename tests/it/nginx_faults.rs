//! What goes wrong between browser and gateway, with the real nginx and the shipped files.
use crate::harness::{
    Chats, End, Nginx, Outcome, Process, RawClient, SOON, ScriptedUpstream, Stopwatch, TestClient, Tidegate,
    handshake, http_get, http_try, nginx::NginxSettings, on_a_steady_machine, until, within,
};
use futures_util::future::join_all;
use std::{net::IpAddr, time::Duration};
use tidegate::config::{Config, PING_BEHIND_PROXY};

async fn demo(more: &[&str]) -> Process {
    let args = ["demo", "--listen", "127.0.0.1:0", "--set", "server.trusted_proxies=127.0.0.1"];
    let args: Vec<_> = args.iter().chain(more).copied().collect();
    Tidegate::new(&args).start().await
}

/// Clients have addresses of their own, since nginx counts handshakes by address.
fn address(number: usize) -> IpAddr {
    [127, 1, (number / 250) as u8, (number % 250 + 1) as u8].into()
}

/// Sockets of `/api/chat`, opened at once by browsers of all routes, so of both gateways; each gets an answer.
async fn browsers_are_answered(nginx: &Nginx) {
    join_all((0..16).map(async |number| {
        let cookie = format!("tidegate_route={number:016x}");
        let mut socket = Chats::connect_as(nginx.address, &cookie).await;
        let answer = socket.turn("q", &format!("chat{number}"), "/sim text=here pace_ms=0 first_ms=0").await;
        assert_eq!(answer.end, Some(End::Whole), "{number}");
    }))
    .await;
}

// faults: B30
#[tokio::test]
async fn a_frozen_replica_is_left_out_by_pages_and_sockets() {
    on_a_steady_machine(async || {
        let (frozen, alive) = (demo(&[]).await, demo(&[]).await);
        let nginx = Nginx::start(&[frozen.address, alive.address]).await;
        frozen.signal("STOP").await;
        // Clients give up a socket's opening after 8 s. No page was requested before.
        let watch = Stopwatch::start();
        browsers_are_answered(&nginx).await;
        assert!(watch.took().is_in(..Duration::from_secs(8)), "{:?}", watch.took());
        // Pages are answered too; when two have waited, nginx knows, and the others need not.
        for longest in [8, 3] {
            let watch = Stopwatch::start();
            let pages = join_all((0..16).map(|_| http_get(nginx.address, "/"))).await;
            assert!(pages.iter().all(|(status, _)| *status == 200), "{pages:?}");
            assert!(watch.took().is_in(..Duration::from_secs(longest)), "{:?}", watch.took());
        }
        frozen.signal("CONT").await;
        for gateway in [frozen, alive] {
            gateway.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_finds_a_gateway_full_is_accepted_by_another() {
    let (full, free) = (demo(&["--set", "connection.count_max=1"]).await, demo(&[]).await);
    let nginx = Nginx::start(&[full.address, free.address]).await;
    let held = RawClient::upgrade(full.address).await;
    for _ in 0..2 {
        browsers_are_answered(&nginx).await;
    }
    assert_eq!(full.metric("tidegate_connections").await, 1);
    drop(held);
    for gateway in [full, free] {
        gateway.stop().await;
    }
}

/// Opens `count` clients in the middle of an answer.
async fn streaming(nginx: &Nginx, count: usize, text: &str) -> Vec<TestClient> {
    let connect = (0..count).map(|number| TestClient::connect_from(address(number), nginx.address));
    let mut clients: Vec<_> =
        join_all(connect).await.into_iter().map(|client| client.expect("101")).collect();
    for client in &mut clients {
        client.send_text(&format!("/sim text=\"{text}\" pace_ms=40 first_ms=0")).await;
    }
    clients
}

async fn ends(clients: Vec<TestClient>, text: &str) -> Vec<Outcome> {
    join_all(clients.into_iter().map(|mut client| async move { client.read_answer(text).await })).await
}

async fn left_over(gateway: &Process) -> u64 {
    let mut sum = 0;
    for name in ["tidegate_connections", "tidegate_sessions", "tidegate_runs", "tidegate_runs_queued"] {
        sum += gateway.metric(name).await;
    }
    sum
}

const CLIENTS: usize = 100;

// faults: B31
#[tokio::test]
async fn when_nginx_reloads_or_dies_every_client_notices_and_can_reconnect() {
    on_a_steady_machine(async || {
        let gateway = demo(&[]).await;
        // As shipped, but with 2 s instead of 40 s for old workers.
        let mut nginx =
            Nginx::start_with(&[gateway.address], NginxSettings { master: true, ..NginxSettings::default() })
                .await;
        let short: String = (0..20).map(|word| format!("word{word} ")).collect();
        let long = short.repeat(40);

        // Old workers go on until their time is over: what is done by then is whole, the rest is cut.
        let brief = streaming(&nginx, CLIENTS, &short).await;
        let lasting = streaming(&nginx, CLIENTS / 10, &long).await;
        nginx.reload();
        let (brief, lasting) = tokio::join!(ends(brief, &short), ends(lasting, &long));
        assert!(brief.iter().all(|end| *end == Outcome::Whole), "{brief:?}");
        assert!(lasting.iter().all(|end| *end == Outcome::Lost), "{lasting:?}");
        until("the gateway has nothing left over", async || left_over(&gateway).await == 0).await;

        // Killed: all clients are cut at once.
        let clients = streaming(&nginx, CLIENTS, &long).await;
        nginx.kill().await;
        let cut = within("all clients notice", SOON, ends(clients, &long)).await;
        assert!(cut.iter().all(|end| *end == Outcome::Lost), "{cut:?}");
        until("the gateway has nothing left over", async || left_over(&gateway).await == 0).await;

        nginx.start_again().await;
        let clients = streaming(&nginx, CLIENTS, &short).await;
        let whole = ends(clients, &short).await;
        assert!(whole.iter().all(|end| *end == Outcome::Whole), "{whole:?}");
        gateway.stop().await;
    })
    .await;
}

// faults: B32
#[tokio::test]
async fn when_all_are_full_or_gone_the_client_gets_a_retry_after() {
    let (one, two) =
        (demo(&["--set", "connection.count_max=1"]).await, demo(&["--set", "connection.count_max=1"]).await);
    // A server that failed is tried again after one second instead of five.
    let brisk =
        NginxSettings { replace: &[("fail_timeout=5s", "fail_timeout=1s")], ..NginxSettings::default() };
    let nginx = Nginx::start_with(&[one.address, two.address], brisk).await;
    let held = [RawClient::upgrade(one.address).await, RawClient::upgrade(two.address).await];
    let refused = async |what: &str| {
        for number in 0..12 {
            let mut client = RawClient::connect(nginx.address).await;
            let head = client.request(&handshake(nginx.address, &[])).await.to_lowercase();
            assert!(head.starts_with("http/1.1 503 "), "{what} {number}: {head}");
            assert_eq!(head.matches("retry-after: 5").count(), 1, "{what} {number}: {head}");
        }
    };
    refused("full").await;
    let mut tried = 100;
    // With room again, a client is let in as soon as nginx checks.
    drop(held);
    until("a newcomer is let in", async || {
        tried += 1;
        TestClient::connect_from(address(tried), nginx.address).await.is_ok()
    })
    .await;
    for gateway in [&one, &two] {
        until("the newcomer is gone", async || left_over(gateway).await == 0).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("/sim text=endless stall_after=1 first_ms=0").await;
        client.read_text().await;
        gateway.signal("TERM").await;
        until("it drains", async || http_get(gateway.address, "/readyz").await.0 == 503).await;
        std::mem::forget(client);
    }
    refused("draining").await;
    for gateway in [one, two] {
        gateway.kill().await;
    }
    refused("gone").await;
    let (status, text) = http_get(nginx.address, "/").await;
    assert_eq!((status, text.as_str()), (503, "the service is not available\n"));
}

/// The seconds of this directive in a shipped file.
fn seconds(file: &str, directive: &str) -> u64 {
    let text = std::fs::read_to_string(format!("{}/{file}", crate::harness::nginx::shipped())).unwrap();
    let value = text.split(directive).nth(1).unwrap().trim_start();
    value.split('s').next().unwrap().parse().unwrap()
}

// faults: B33
#[tokio::test]
async fn pings_are_more_frequent_than_the_timeouts_of_nginx() {
    on_a_steady_machine(async || {
        let cut = Duration::from_secs(seconds("server.conf", "proxy_read_timeout "));
        assert!(Config::default().connection.ping_interval * 3 <= cut, "one ping and its answer may be lost");
        assert!(PING_BEHIND_PROXY * 2 < cut);
        let quiet = Tidegate::new(&["check", "--set", "connection.ping_interval=20s"])
            .env("API_KEY", "sk-test")
            .run()
            .await;
        assert!(quiet.code == Some(0) && !quiet.err.contains("connection.ping_interval"), "{quiet:?}");
        let slow = demo(&["--set", "connection.ping_interval=21s"]).await;
        let warning =
            "connection.ping_interval = 21s is slow: proxies cut quiet sockets (nginx/server.conf after 45s)";
        until("the warning is in the log", async || slow.log().contains(warning)).await;
        slow.stop().await;
        // And this is why: a socket on which nothing comes for so long is cut, one with pings is not.
        let hasty = NginxSettings {
            replace: &[("proxy_read_timeout 45s", "proxy_read_timeout 1s")],
            ..NginxSettings::default()
        };
        let slow = demo(&[]).await;
        let nginx = Nginx::start_with(&[slow.address], hasty).await;
        let mut cut = TestClient::connect(&nginx.chat_url()).await;
        cut.cut().await;
        let brisk = demo(&["--set", "connection.ping_interval=200ms"]).await;
        let nginx = Nginx::start_with(&[brisk.address], hasty).await;
        let mut kept = TestClient::connect(&nginx.chat_url()).await;
        let answer = kept.ask("late", "first_ms=1600").await;
        assert_eq!(answer, Outcome::Whole);
        kept.close().await;
        brisk.stop().await;
    })
    .await;
}

/// The address that the gateway takes for the client's, from its log.
async fn seen_as(gateway: &Process, before: usize) -> String {
    let opened = || {
        let log = gateway.log();
        let lines: Vec<_> =
            log.lines().filter(|line| line.contains(" socket opened ")).map(str::to_owned).collect();
        lines.get(before).cloned()
    };
    until("the socket is in the log", async || opened().is_some()).await;
    opened().unwrap().rsplit("address=").next().unwrap().to_owned()
}

// faults: B35
#[tokio::test]
async fn a_forged_address_is_not_believed() {
    let many = (0..50).map(|n| format!("10.9.8.{n}")).collect::<Vec<_>>().join(", ");
    let forged = [
        ("x-forwarded-for", "10.1.2.3"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-for", many.as_str()),
        ("x-forwarded-for", "no address"),
        ("x-forwarded-for", "10.1.2.3\r\nx-forwarded-for: 10.4.5.6"),
        ("x-forwarded-for", "::ffff:10.1.2.3"),
        ("x-real-ip", "10.1.2.3"),
        ("forwarded", "for=10.1.2.3"),
        ("x-forwarded-for", ""),
    ];
    let gateway = demo(&["--set", "connection.count_per_address_max=2"]).await;
    let nginx = Nginx::start(&[gateway.address]).await;
    let mut opened = 0;
    for (number, header) in forged.iter().enumerate() {
        // Through nginx, the peer's address counts, whatever it claims; and so it does for a client that
        // connects to the gateway directly and is no trusted proxy.
        for server in [nginx.address, gateway.address] {
            let here = [127, 3, 0, number as u8 + 1].into();
            let mut held = Vec::new();
            for expected in [101, 101, 429] {
                let mut client = RawClient::connect_from(here, server).await;
                let head = client.request(&handshake(server, &[*header])).await;
                assert!(head.starts_with(&format!("HTTP/1.1 {expected} ")), "{header:?}: {head}");
                held.push(client);
            }
            for _ in 0..2 {
                assert_eq!(seen_as(&gateway, opened).await, here.to_string(), "{header:?}");
                opened += 1;
            }
            drop(held);
            until("they are gone", async || left_over(&gateway).await == 0).await;
        }
    }
    // The proxy itself is believed, but only as far as it has seen: to the last hop that is not a proxy.
    for (list, client) in [
        ("10.1.2.3", "10.1.2.3"),
        ("10.9.9.9, 10.1.2.3", "10.1.2.3"),
        ("10.9.9.9, 10.1.2.3, 127.0.0.1", "10.1.2.3"),
        ("10.1.2.3, no address", "127.0.0.1"),
        ("no address", "127.0.0.1"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8::1", "2001:db8::1"),
    ] {
        let mut proxy = RawClient::connect(gateway.address).await;
        proxy.request(&handshake(gateway.address, &[("x-forwarded-for", list)])).await;
        assert_eq!(seen_as(&gateway, opened).await, client, "{list}");
        opened += 1;
    }
    gateway.stop().await;
}

// faults: B35, K131
#[tokio::test]
async fn the_addresses_of_an_ipv6_network_share_the_limits_of_nginx() {
    let gateway = demo(&[]).await;
    // Behind another proxy, since this machine has no network of its own.
    const BEHIND: &[(&str, &str)] = &[
        ("# set_real_ip_from 10.0.0.0/8; real_ip_header", "set_real_ip_from 127.0.0.0/8; real_ip_header"),
        ("limit_conn tidegate_sockets 4000", "limit_conn tidegate_sockets 3"),
    ];
    let settings = NginxSettings { replace: BEHIND, ..NginxSettings::default() };
    let nginx = Nginx::start_with(&[gateway.address], settings).await;
    let mut held = Vec::new();
    for (address, expected) in [
        ("2001:db8:1:2::1", 101),
        ("2001:db8:1:2::2", 101),
        ("2001:db8:1:2:ffff:ffff:0a0a:0a0a", 101),
        ("2001:db8:1:2:a0a:a0a:a0a:a0a", 429),
        ("2001:db8:1:3::1", 101),
        ("2001:db8:a0a:a0a::1", 101),
        // Of IPv4 each address counts for itself.
        ("10.0.0.1", 101),
        ("10.0.0.2", 101),
        ("10.0.0.1", 101),
        ("10.0.0.1", 101),
        ("10.0.0.1", 429),
        ("10.0.0.3", 101),
    ] {
        let mut client = RawClient::connect(nginx.address).await;
        let head = client.request(&handshake(nginx.address, &[("x-forwarded-for", address)])).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {expected} ")), "{address}: {head}");
        held.push(client);
    }
    drop(held);
    gateway.stop().await;
}

// faults: B35
#[tokio::test]
async fn a_campus_behind_one_address_gets_in_at_once() {
    let gateway = demo(&[]).await;
    let nginx = Nginx::start(&[gateway.address]).await;
    let people = join_all((0..250).map(async |_| {
        let (status, _) = http_get(nginx.address, "/").await;
        let mut client = RawClient::connect(nginx.address).await;
        let head = client.request(&handshake(nginx.address, &[])).await;
        (status, head[9..12].to_owned(), client)
    }))
    .await;
    let refused = people.iter().filter(|(page, socket, _)| (*page, socket.as_str()) != (200, "101"));
    assert_eq!(refused.count(), 0);
    drop(people);
    gateway.stop().await;
}

// faults: B36
#[tokio::test]
async fn only_websocket_upgrades_are_passed_on() {
    // Stands in for the gateway, to see what reaches it.
    let gateway = ScriptedUpstream::bind().await;
    let nginx = Nginx::start(&[gateway.address]).await;
    for (upgrade, more, passed) in [
        ("websocket", "", "websocket"),
        ("WebSocket", "", "websocket"),
        ("h2c", "http2-settings: AAMAAABkAAQAAP__\r\n", ""),
        ("websocket, h2c", "", ""),
        ("h2c, websocket", "", ""),
        ("h2c", "upgrade: websocket\r\n", ""),
        ("TLS/1.2", "", ""),
        ("websocket/13", "", ""),
    ] {
        let mut client = RawClient::connect(nginx.address).await;
        let request = format!(
            "GET /chat HTTP/1.1\r\nhost: {}\r\nconnection: upgrade, http2-settings\r\nupgrade: {upgrade}\r\n{more}\r\n",
            nginx.address
        );
        client.write(request.as_bytes()).await;
        let end = "content-length: 0\r\nconnection: close\r\n\r\n";
        let mut question = gateway.accept().await;
        question.request_head().await;
        question.send(format!("HTTP/1.1 200 OK\r\n{end}")).await;
        let mut connection = gateway.accept().await;
        let head = connection.request_head().await;
        let lines = |name: &str| {
            let name = format!("{name}: ");
            head.lines().filter_map(|line| line.strip_prefix(&name)).collect::<Vec<_>>().join("|")
        };
        assert_eq!(lines("upgrade"), passed, "{upgrade}: {head}");
        assert_eq!(lines("connection"), if passed.is_empty() { "" } else { "upgrade" }, "{upgrade}: {head}");
        connection.send(format!("HTTP/1.1 404 Not Found\r\n{end}")).await;
    }
}

// faults: B29
#[tokio::test]
async fn of_three_replicas_one_may_die_in_the_middle_of_everything() {
    on_a_steady_machine(async || {
        let replicas = [demo(&[]).await, demo(&[]).await, demo(&[]).await];
        let nginx = Nginx::start(&replicas.each_ref().map(|replica| replica.address)).await;
        let text = "some words ".repeat(40);
        let clients = streaming(&nginx, 30, &text).await;
        let [first, second, third] = replicas;
        let on_first = first.metric("tidegate_connections").await as usize;
        assert!(on_first > 0, "{on_first}");
        first.kill().await;
        let killed = Stopwatch::start();
        let newcomers = (50..60).map(|number| TestClient::connect_from(address(number), nginx.address));
        let newcomers = join_all(newcomers).await;
        assert!(killed.took().is_in(..SOON), "{:?}", killed.took());
        for newcomer in newcomers {
            assert_eq!(newcomer.expect("101").ask("here", "pace_ms=0 first_ms=0").await, Outcome::Whole);
        }
        let ends = ends(clients, &text).await;
        let lost = ends.iter().filter(|end| **end == Outcome::Lost).count();
        let whole = ends.iter().filter(|end| **end == Outcome::Whole).count();
        assert_eq!((lost, whole), (on_first, 30 - on_first), "{ends:?}");
        for replica in [second, third] {
            until("nothing is left over", async || left_over(&replica).await == 0).await;
            replica.stop().await;
        }
    })
    .await;
}

// faults: I120
#[tokio::test]
async fn the_operators_routes_cannot_be_reached_through_nginx_in_any_notation() {
    let gateway = demo(&[]).await;
    let nginx = Nginx::start(&[gateway.address]).await;
    for path in [
        "/metrics",
        "/metrics/",
        "//metrics",
        "/./metrics",
        "/x/../metrics",
        "/%6detrics",
        "/metrics?x",
        "/metrics%00",
        "/METRICS",
        "/metrics;x",
        "/metrics%2f",
        "/%2e/metrics",
        "/readyz",
        "//readyz",
        "/%72eadyz?verbose",
        "/-/ready",
        "//-/ready",
        "/-//ready",
        "/%2d/ready",
        "/chat/../-/ready",
        "/-/none",
    ] {
        let (status, text) = http_try(nginx.address, path).await.unwrap();
        assert!([400, 404].contains(&status) && !text.contains("tidegate_"), "{path}: {status} {text}");
        assert!(!text.contains("ready"), "{path}: {text}");
    }
    gateway.stop().await;
}
