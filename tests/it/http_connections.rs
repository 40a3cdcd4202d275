//! Plain HTTP connections that take their time, do not read, never end or are too many: each has a bound, and costs
//! no other client anything.
use crate::harness::{
    Gateway, Nginx, PATIENCE, Process, RawClient, SOON, Stopwatch, Tidegate, Took, frame, handshake,
    http_get, http_try, nginx::NginxSettings, on_a_steady_machine, until, within,
};
use futures_util::future::join_all;
use std::{net::SocketAddr, time::Duration};
use tidegate::config::Config;
use tokio::{
    io::AsyncReadExt,
    net::TcpSocket,
    time::{sleep, timeout},
};

const HEADER: Duration = Duration::from_secs(1);
const WRITE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_millis(1500);
const REQUEST: Duration = Duration::from_secs(4);

fn short(config: &mut Config) {
    config.server.workers = 1;
    config.http.header_timeout = HEADER;
    config.http.write_timeout = WRITE;
    config.http.idle_timeout = IDLE;
    config.http.request_timeout = REQUEST;
}

/// The largest file of the page: far more than all buffers on the way hold.
fn script() -> String {
    let (name, _) = tidegate::http::page::files().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    assert!(name.starts_with("assets/"), "{name}");
    format!("/{name}")
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n")
}

/// A client with the smallest receive buffer.
async fn narrow(server: SocketAddr) -> RawClient {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    RawClient { stream: within("it connects", PATIENCE, socket.connect(server)).await.unwrap() }
}

fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    text.split("HTTP/1.").skip(1).filter_map(|rest| rest.get(2..5)?.parse().ok()).collect()
}

/// What it receives until the server closes, and how long that took.
async fn exchange(mut client: RawClient, request: &str) -> (Vec<u8>, Took) {
    let watch = Stopwatch::start();
    client.write(request.as_bytes()).await;
    let bytes = client.read_to_end(PATIENCE).await;
    (bytes, watch.took())
}

fn open_now(gateway: &Gateway) -> i64 {
    gateway.app_state.metrics.http_connections.get()
}

fn closed(gateway: &Gateway, reason: &'static str) -> u64 {
    gateway.app_state.metrics.http_connections_closed.get(reason)
}

// faults: K128
#[tokio::test]
async fn a_body_that_never_ends_is_refused_and_its_connection_closed() {
    on_a_steady_machine(async || {
        let gateway = Gateway::spawn(|config| {
            short(config);
            config.server.ops_listen = Some(([127, 0, 0, 1], 0).into());
        })
        .await;
        let post =
            |headers: &str, body: &str| format!("POST /livez HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n{body}");
        let chunks = "transfer-encoding: chunked";
        let requests = [
            post(chunks, "5\r\nabc"),
            post(chunks, ""),
            post(chunks, "5;extension"),
            post(&format!("{chunks}\r\nconnection: close"), "5\r\nabc"),
            post("content-length: 1000", "abc"),
            post("content-length: 1000\r\nexpect: 100-continue", ""),
            post("content-length: 1", ""),
            get("/", "content-length: 10\r\n"),
            get("/nowhere", "transfer-encoding: chunked\r\n"),
        ];
        for server in [gateway.address, gateway.ops_address.unwrap()] {
            let all = requests.iter().map(async |request| {
                let (bytes, took) = exchange(RawClient::connect(server).await, request).await;
                let text = String::from_utf8_lossy(&bytes);
                let text = text.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
                assert!(text.starts_with("HTTP/1.1 413 "), "{request}: {text}");
                assert!(text.contains("\r\nconnection: close\r\n"), "{request}: {text}");
                // Closed at once, and gone when the client has had a moment to close too.
                assert!(took.is_in(..Duration::from_millis(900)), "{request}: {took:?}");
            });
            join_all(all).await;
        }
        // Nor does one that goes on sending keep it.
        let mut client = RawClient::connect(gateway.address).await;
        client.write(post(chunks, "").as_bytes()).await;
        within("it is cut off", PATIENCE, async {
            while client.try_write(b"5\r\nhello\r\n").await.is_ok() {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        until("none is left", async || open_now(&gateway) == 0).await;
        gateway.stop().await;
    })
    .await;
}

// faults: K129
#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_reset_in_time() {
    on_a_steady_machine(async || {
        let gateway = Gateway::spawn(short).await;
        let many = get(&script(), "").repeat(100);
        // What is refused an upgrade behind them waits for the kernel to take the answers as well.
        let upgrade =
            get(&script(), "") + &handshake(gateway.address, &[]).replace("version: 13", "version: 8");
        let watch = Stopwatch::start();
        let mut clients = Vec::new();
        for request in [&many, &upgrade, &get(&script(), "")] {
            for _ in 0..10 {
                let mut client = narrow(gateway.address).await;
                client.write(request.as_bytes()).await;
                clients.push(client);
            }
        }
        until("all are there", async || open_now(&gateway) == 30).await;
        assert!(watch.took().wall < WRITE, "too slow a machine to tell: {:?}", watch.took());
        within("all are cut", WRITE * 2, async {
            while open_now(&gateway) > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert!(watch.took().is_in(WRITE..), "{:?}", watch.took());
        assert_eq!(closed(&gateway, "write_timeout"), 30);
        // With a reset, so that the kernel holds nothing for them.
        for mut client in clients {
            let mut bytes = Vec::new();
            assert!(within("the end", PATIENCE, client.stream.read_to_end(&mut bytes)).await.is_err());
        }
        gateway.stop().await;
    })
    .await;
}

// faults: K130
#[tokio::test]
async fn slow_heads_idle_connections_and_endless_answers_each_have_their_time() {
    on_a_steady_machine(each_has_its_time).await;
}

async fn each_has_its_time() {
    let gateway = Gateway::spawn(|config| {
        short(config);
        config.server.ops_listen = Some(([127, 0, 0, 1], 0).into());
    })
    .await;
    let here = gateway.address;
    let head = async |server: SocketAddr| {
        let client = RawClient::connect(server).await;
        let (bytes, took) = exchange(client, "GET /livez HTTP/1.1\r\nhost: ").await;
        assert_eq!(statuses(&bytes), [408]);
        assert!(took.is_in(HEADER - Duration::from_millis(50)..HEADER * 2), "{took:?}");
    };
    let trickle = async || {
        let mut client = RawClient::connect(here).await;
        let watch = Stopwatch::start();
        for byte in get("/v1/models", &format!("x: {}\r\n", "a".repeat(1_000))).bytes() {
            if client.try_write(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        assert!(watch.took().is_in(..HEADER * 2), "{:?}", watch.took());
    };
    let silence = async || {
        let (bytes, took) = exchange(RawClient::connect(here).await, "").await;
        assert!(bytes.is_empty(), "nothing was asked");
        assert!(took.is_in(HEADER - Duration::from_millis(50)..HEADER * 2), "{took:?}");
    };
    let idle = async || {
        let (bytes, took) = exchange(RawClient::connect(here).await, &get("/v1/models", "")).await;
        assert_eq!(statuses(&bytes), [200]);
        assert!(took.is_in(IDLE..IDLE * 2), "{took:?}");
    };
    let second = async || {
        let (bytes, took) = exchange(RawClient::connect(here).await, &(get("/v1/models", "") + "GET")).await;
        assert_eq!(statuses(&bytes), [200, 408]);
        assert!(took.is_in(HEADER..HEADER * 2), "{took:?}");
    };
    // A reader that goes on, but so slowly that it would take minutes.
    let slow = async || {
        let mut client = narrow(here).await;
        let watch = Stopwatch::start();
        client.write(get(&script(), "").as_bytes()).await;
        let mut byte = [0; 512];
        while watch.took().wall < REQUEST * 2 {
            match timeout(Duration::from_secs(1), client.stream.read(&mut byte)).await {
                Ok(Ok(1..)) => sleep(Duration::from_millis(50)).await,
                _ => break,
            }
        }
        // What the kernels hold is read for a while after the end.
        until("it is gone", async || closed(&gateway, "request_timeout") == 1).await;
        assert!(watch.took().is_in(REQUEST..), "{:?}", watch.took());
    };
    // Good requests, one after the other, may come for as long as they like.
    let lasting = async || {
        let mut client = RawClient::connect(here).await;
        let watch = Stopwatch::start();
        while watch.took().wall < REQUEST + Duration::from_secs(1) {
            let head = client.request(&get("/nowhere", "")).await;
            assert!(head.starts_with("HTTP/1.1 404 ") && !head.contains("close"), "{head}");
            sleep(Duration::from_millis(500)).await;
        }
    };
    let ops = gateway.ops_address.unwrap();
    tokio::join!(head(here), head(ops), trickle(), silence(), idle(), second(), slow(), lasting());
    until("none is left", async || open_now(&gateway) == 0).await;
    assert_eq!(closed(&gateway, "header_timeout"), 5);
    gateway.stop().await;
}

// faults: K130
#[tokio::test]
async fn a_head_that_is_too_large_is_refused_early() {
    let gateway = Gateway::spawn(|config| config.http.header_bytes_max = 2048).await;
    let fits = get("/livez", &format!("x: {}\r\nconnection: close\r\n", "a".repeat(1_900)));
    let (bytes, _) = exchange(RawClient::connect(gateway.address).await, &fits).await;
    assert_eq!(statuses(&bytes), [200]);
    let (bytes, took) =
        exchange(RawClient::connect(gateway.address).await, &format!("GET /{}", "a".repeat(60_000))).await;
    assert_eq!(statuses(&bytes), [431]);
    assert!(took.is_in(..SOON), "{took:?}");
    gateway.stop().await;
}

// faults: K130
#[tokio::test]
async fn a_disconnected_client_is_noticed_at_once() {
    let gateway = Gateway::spawn(|_| {}).await;
    let client = RawClient::connect(gateway.address).await;
    let mut asked = RawClient::connect(gateway.address).await;
    asked.request(&get("/livez", "")).await;
    let mut pipelined = RawClient::connect(gateway.address).await;
    pipelined.write((get("/livez", "").repeat(20) + "GET").as_bytes()).await;
    until("all are there", async || open_now(&gateway) == 3).await;
    drop((client, asked, pipelined));
    let noticed = async {
        while open_now(&gateway) > 0 {
            sleep(Duration::from_millis(2)).await;
        }
    };
    within("they are gone", SOON, noticed).await;
    gateway.stop().await;
}

// faults: K132
#[tokio::test]
async fn frames_behind_pipelined_requests_and_an_upgrade_are_all_processed() {
    on_a_steady_machine(async || {
        let gateway = Gateway::spawn(short).await;
        let gets = get("/livez", "") + &get(&script(), "") + &get("/nowhere", "");
        let upgrade = handshake(gateway.address, &[]);
        let frames = [frame(0x81, b"/sim text=first"), frame(0x81, b"/sim text=second")].concat();
        for before in ["", &get("/livez", ""), &gets, &gets.repeat(4)] {
            let mut client = narrow(gateway.address).await;
            let all = [before.as_bytes(), upgrade.as_bytes(), &frames].concat();
            client.write(&all).await;
            // It takes its time with the large answer.
            sleep(Duration::from_millis(200)).await;
            let mut bytes = Vec::new();
            within("both answers", PATIENCE, async {
                while !bytes.ends_with(b"\x81\x06second") {
                    assert!(client.read_some(&mut bytes).await > 0, "{:?}", statuses(&bytes));
                }
            })
            .await;
            assert!(bytes.windows(7).any(|window| window == b"\x81\x05first"));
            let expected = [200, 200, 404].repeat(4);
            let count = before.matches("GET ").count();
            let expected = if count == 1 { vec![200, 101] } else { [&expected[..count], &[101]].concat() };
            assert_eq!(statuses(&bytes), expected);
        }
        gateway.stop().await;
    })
    .await;
}

// faults: K133
#[tokio::test]
async fn nothing_behind_a_request_that_closes_the_connection_is_answered() {
    on_a_steady_machine(async || {
        let gateway = Gateway::spawn(short).await;
        let upgrade = handshake(gateway.address, &[]);
        let requests = [
            (get("/livez", "connection: close\r\n"), vec![200]),
            (get(&script(), "connection: close\r\n"), vec![200]),
            (get("/livez", "") + &get("/nowhere", "Connection: foo, Close\r\n"), vec![200, 404]),
            ("GET /livez HTTP/1.0\r\nhost: a\r\n\r\n".to_owned(), vec![200]),
            ("GET /livez HTTP/1.1\r\nhost: a@b\r\n\r\n".to_owned(), vec![400]),
            (get("/livez", "content-length: 3\r\n"), vec![413]),
            (upgrade.replace("version: 13", "version: 8"), vec![426]),
        ];
        for (request, expected) in requests {
            for behind in [get("/livez", ""), upgrade.clone(), get("/livez", "").repeat(1_000)] {
                let (bytes, took) =
                    exchange(RawClient::connect(gateway.address).await, &(request.clone() + &behind)).await;
                assert_eq!(statuses(&bytes), expected, "{request}");
                assert!(took.is_in(..HEADER), "{request}: {took:?}");
            }
        }
        assert!(gateway.is_idle(), "no socket was opened");
        gateway.stop().await;
    })
    .await;
}

// faults: K131
#[tokio::test]
async fn beyond_the_cap_the_greediest_makes_room() {
    let gateway = Gateway::spawn(|config| {
        config.http.connections_max = 40;
        config.http.connections_per_address_max = 30;
    })
    .await;
    let here = gateway.address;
    let from = |n: u8| [127, 0, 0, n].into();
    // Only one that waits for its client may be sent away: one after the other they get to that.
    let come = async |n: u8, count: usize| {
        let mut clients = Vec::new();
        for _ in 0..count {
            let mut client = RawClient::connect_from(from(n), here).await;
            let head = client.request(&get("/livez", "")).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            clients.push(client);
        }
        clients
    };
    let calm = come(2, 5).await;
    until("they are there", async || open_now(&gateway) == 5).await;
    // Of one address no more than it may have, and its own pay.
    let greedy = come(3, 100).await;
    until("the others are gone", async || closed(&gateway, "evicted") == 70).await;
    assert_eq!(open_now(&gateway), 35);
    // In all no more than there may be, and who has most pays.
    let more = come(4, 12).await;
    until("others had to go", async || closed(&gateway, "evicted") == 77).await;
    assert_eq!(open_now(&gateway), 40);
    for mut client in calm.into_iter().chain(more) {
        let head = client.request(&get("/livez", "")).await;
        // Behind the body of the first answer.
        assert!(head.contains("HTTP/1.1 200 "), "{head}");
    }
    drop(greedy);
    gateway.stop().await;
}

/// A gateway with 400 descriptors.
async fn with_few_descriptors(simulator: &Process, keys: &[&str]) -> Process {
    let base_url = simulator.base_url();
    let mut args = vec!["serve", "--listen", "127.0.0.1:0", "--model", "sim-chat", "--base-url", &base_url];
    for key in keys {
        args.extend(["--set", key]);
    }
    let gateway = Tidegate::under(&["prlimit", "--nofile=400:400"], &args).env("API_KEY", "sk-test");
    gateway.start().await
}

// faults: K128, K129, K130, K131
#[tokio::test]
async fn hundreds_of_stuck_connections_do_not_silence_the_probes() {
    let simulator = Process::simulate().await;
    let keys = ["server.workers=2", "server.ops_listen=127.0.0.1:0"];
    let gateway = with_few_descriptors(&simulator, &keys[..1]).await;
    let here = gateway.address;
    let unread = get(&script(), "").repeat(20);
    let attacks = [
        ("nothing", String::new()),
        ("a head", "GET /livez HTTP/1.1\r\n".to_owned()),
        (
            "a body",
            "POST /livez HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc".to_owned(),
        ),
        ("answers unread", unread),
        ("an idle connection", get("/livez", "")),
    ];
    for (name, request) in attacks {
        let mut stuck = Vec::new();
        for number in 0..450 {
            let mut client = narrow(here).await;
            let _ = client.try_write(request.as_bytes()).await;
            stuck.push(client);
            if number % 50 == 49 {
                let probe = within("a probe is answered", SOON, http_try(here, "/livez")).await;
                assert_eq!(probe.map(|(status, _)| status).ok(), Some(200), "{name}: {number} are stuck");
            }
        }
        let (status, _) = http_get(here, "/readyz").await;
        assert_eq!(status, 200, "{name}");
        drop(stuck);
    }
    // And sockets are still opened, and answered.
    let mut client = RawClient::upgrade(here).await;
    client.write(&frame(0x81, b"/sim text=fine")).await;
    assert_eq!(client.read_frame().await, (0x81, b"fine".to_vec()));
    drop(client);
    let log = gateway.stop().await;
    assert!(log.contains("http.connections_max is "), "{log}");
    assert!(!log.contains("accepting connection"), "descriptors never ran out: {log}");
    simulator.stop().await;
}

/// nginx would read a body whole before it asks a gateway.
// faults: K128
#[tokio::test]
async fn through_nginx_a_dripping_body_is_refused_as_well() {
    on_a_steady_machine(async || {
        let gateway = Gateway::spawn(short).await;
        let settings = NginxSettings {
            replace: &[("lingering_time 5s", "lingering_time 1s")],
            ..NginxSettings::default()
        };
        let nginx = Nginx::start_with(&[gateway.address], settings).await;
        for body in ["transfer-encoding: chunked", "content-length: 1000"] {
            for path in ["/v1/models", "/chat"] {
                let mut client = RawClient::connect(nginx.address).await;
                client
                    .write(format!("POST {path} HTTP/1.1\r\nhost: a\r\n{body}\r\n\r\nff\r\n").as_bytes())
                    .await;
                let mut bytes = Vec::new();
                within("the answer", PATIENCE, client.read_some(&mut bytes)).await;
                assert_eq!(statuses(&bytes), [413], "{path} {body}");
                within("it is cut off", PATIENCE, async {
                    while client.try_write(b"x").await.is_ok() {
                        sleep(Duration::from_millis(20)).await;
                    }
                })
                .await;
            }
        }
        // One that is announced as empty is none.
        let (bytes, _) = exchange(
            RawClient::connect(nginx.address).await,
            &get("/v1/models", "content-length: 0\r\nconnection: close\r\n"),
        )
        .await;
        assert_eq!(statuses(&bytes), [200]);
        gateway.stop().await;
    })
    .await;
}
