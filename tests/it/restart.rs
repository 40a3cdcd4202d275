//! Killed, started again, replaced one by one: what clients and the service notice of it.
use crate::harness::{
    Nginx, Outcome, Process, RawClient, SOON, ScriptedUpstream, TestClient, Tidegate, handshake, http_try,
    sse_head, until, within,
};
use fastrand::Rng;
use futures_util::future::join_all;
use std::{cell::Cell, net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, time::sleep};

async fn serve(upstream: SocketAddr, listen: &str) -> Process {
    let base_url = format!("http://{upstream}/api/v1");
    let args = ["serve", "--listen", listen, "--model", "sim-chat", "--base-url", &base_url];
    Tidegate::new(&args).env("API_KEY", "sk-test").start().await
}

// faults: G101, G102, I114
#[tokio::test]
async fn a_killed_process_is_noticed_by_both_sides_and_its_successor_has_no_state() {
    let upstream = ScriptedUpstream::bind().await;
    let gateway = serve(upstream.address, "127.0.0.1:0").await;
    let mut clients = Vec::new();
    let mut connections = Vec::new();
    for number in 0..5 {
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text(&format!("My number is {number}.")).await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        connection.send(sse_head()).await;
        connection.delta("The first half").await;
        assert_eq!(client.read_text().await, "The first half");
        clients.push(client);
        connections.push(connection);
    }
    let address = gateway.address;
    // What the kernel does when memory is used up is the same.
    gateway.kill().await;
    for connection in &mut connections {
        let after = connection.closed().await;
        assert!(after.is_in(..SOON), "{after:?}");
    }
    for client in &mut clients {
        within("the client notices", SOON, client.cut()).await;
    }
    // The same port, at once; and a conversation that begins anew.
    let gateway = serve(upstream.address, &address.to_string()).await;
    assert!(gateway.ready_after.is_in(..Duration::from_secs(5)), "{:?}", gateway.ready_after);
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("Which number is mine?").await;
    let mut connection = upstream.accept().await;
    let (_, body) = connection.request().await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let messages = serde_json::json!([{ "role": "user", "content": "Which number is mine?" }]);
    assert_eq!(body["input"]["messages"], messages);
    connection.send(sse_head()).await;
    connection.delta("I do not know.").await;
    connection.finish().await;
    assert_eq!(client.read_text().await, "I do not know.");
    client.close().await;
    gateway.stop().await;
}

/// What the clients of a rolling restart have seen.
#[derive(Default)]
struct Seen {
    whole: Cell<u64>,
    reconnects: Cell<u64>,
    over: Cell<bool>,
}

/// Talks until it is over; when its socket ends it comes back, and nothing else may happen to it.
async fn talker(nginx: SocketAddr, number: usize, seen: &Seen) {
    let mut rng = Rng::with_seed(number as u64);
    let here = [127, 4, 0, number as u8 + 1].into();
    let mut turn = 0;
    while !seen.over.get() {
        // While a replica starts, nginx may find no gateway for a moment.
        let Ok(mut client) = TestClient::connect_from(here, nginx).await else {
            sleep(Duration::from_millis(rng.u64(20..100))).await;
            continue;
        };
        while !seen.over.get() {
            turn += 1;
            let text: String = (0..12).map(|word| format!("{number}.{turn}.{word}ü ")).collect();
            match client.ask(&text, "pace_ms=4 first_ms=0").await {
                Outcome::Whole => seen.whole.set(seen.whole.get() + 1),
                // Sent while its gateway was stopping: it was rejected, and the end follows.
                Outcome::Error(text) => {
                    assert_eq!(text, "Error: The service is restarting. Reconnect and send it again.");
                    assert!(matches!(client.read_answer("?").await, Outcome::Closed(1012) | Outcome::Lost));
                    break;
                }
                Outcome::Closed(1012 | 1001) | Outcome::Lost => break,
                Outcome::Closed(code) => panic!("closed with {code}"),
            }
            sleep(Duration::from_millis(rng.u64(0..40))).await;
        }
        seen.reconnects.set(seen.reconnects.get() + u64::from(!seen.over.get()));
    }
}

// faults: G103
#[tokio::test]
async fn three_replicas_are_replaced_one_by_one_and_no_answer_is_harmed() {
    let simulator = Process::simulate().await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(serve(simulator.address, "127.0.0.1:0").await);
    }
    let nginx = Nginx::start(&replicas.iter().map(|replica| replica.address).collect::<Vec<_>>()).await;
    let seen = Seen::default();
    let roll = async {
        until("all clients get answers", async || seen.whole.get() > 15).await;
        let mut successors = Vec::new();
        for old in replicas {
            let address = old.address;
            let log = old.stop().await;
            assert!(log.contains("stopped: Drained"), "{log}");
            let new = serve(simulator.address, &address.to_string()).await;
            let before = seen.whole.get();
            until("all clients get answers", async || seen.whole.get() > before + 15).await;
            successors.push(new);
        }
        seen.over.set(true);
        successors
    };
    let (successors, _) =
        tokio::join!(roll, join_all((0..18).map(|number| talker(nginx.address, number, &seen))));
    println!("{} answers, {} reconnects", seen.whole.get(), seen.reconnects.get());
    // Each of them was at least once on a replica that went.
    assert!(seen.reconnects.get() >= 18, "{}", seen.reconnects.get());
    for replica in successors {
        until("nothing is left over", async || replica.metric("tidegate_connections").await == 0).await;
        replica.stop().await;
    }
    simulator.stop().await;
}

// faults: G105
#[tokio::test]
async fn killing_it_at_any_moment_of_its_start_does_no_damage() {
    const LANES: usize = 5;
    let mut rng = Rng::with_seed(50);
    let lanes = join_all((0..LANES).map(|_| {
        let mut rng = rng.fork();
        async move {
            let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
            let args = ["demo", "--listen", &free];
            for _ in 0..50 / LANES {
                let time = Duration::from_millis(rng.u64(0..50));
                let folder = Tidegate::new(&args).killed_after(time).await;
                let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
                assert!(left.is_empty(), "after {time:?}: {left:?}");
            }
            // The port is free, and the next one starts as if nothing had been.
            let gateway = Tidegate::new(&args).start().await;
            assert_eq!(gateway.address.to_string(), free);
            let mut client = TestClient::connect(&gateway.chat_url()).await;
            client.send_text("/sim text=here pace_ms=0 first_ms=0").await;
            client.expect("here").await;
            client.close().await;
            gateway.stop().await;
        }
    }));
    lanes.await;
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let gateway = Tidegate::new(&["demo", "--listen", "127.0.0.1:0"]).start().await;
        fastest = fastest.min(gateway.ready_after.net());
        gateway.stop().await;
    }
    assert!(fastest < SOON, "{fastest:?}");
}

/// The plain dialect has no version: a page is as good as the release from which it came, and the page
/// served is the binary's own. What other releases might ask for beyond that is ignored.
// faults: G106
#[tokio::test]
async fn pages_of_other_releases_get_on_with_this_gateway() {
    let gateway = Tidegate::new(&["demo", "--listen", "127.0.0.1:0"]).start().await;
    let here = gateway.address;
    let mut client = RawClient::connect(here).await;
    let head = client
        .request(&format!(
            "GET / HTTP/1.1
host: {here}

"
        ))
        .await
        .to_lowercase();
    // A new gateway's page replaces the old one at the next load; its parts have other names.
    assert!(head.contains("content-type: text/html") && head.contains("cache-control: no-cache"), "{head}");
    for path in ["/api/v9/chat", "/v1/responses", "/assets/index-1234.js", "/v2/hello"] {
        assert_eq!(http_try(here, path).await.unwrap().0, 404, "{path}");
    }
    // Words of another protocol are not agreed to, and change nothing.
    let headers = [("sec-websocket-protocol", "tidegate.v9, tidegate.v8"), ("x-tidegate-version", "9")];
    let request = handshake(here, &headers).replace("/chat ", "/chat?version=9&resume=1 ");
    let mut client = RawClient::connect(here).await;
    let head = client.request(&request).await.to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && !head.contains("sec-websocket-protocol"), "{head}");
    client.write(&crate::harness::frame(0x8a, b"unsolicited")).await;
    client
        .write(&crate::harness::frame(
            0x81,
            br#"/sim text="{\"type\":\"hello\",\"version\":9}" pace_ms=0 first_ms=0"#,
        ))
        .await;
    let mut text = Vec::new();
    while text.len() < br#"{"type":"hello","version":9}"#.len() {
        let (first, more) = client.read_frame().await;
        assert_eq!(first, 0x81);
        text.extend(more);
    }
    assert_eq!(text, br#"{"type":"hello","version":9}"#);
    drop(client);
    gateway.stop().await;
}
