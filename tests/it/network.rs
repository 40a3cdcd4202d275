//! Names that are not found and hosts that do not answer, in a network of the test's own.
use crate::harness::{
    PATIENCE, Stopwatch, TestClient, Tidegate, Took, good_answer, netns::Namespace, on_a_steady_machine,
    read_request, until, within,
};
use std::{net::Ipv4Addr, time::Duration};
use tidegate::{chat::RunErrorKind, config::Config};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
};

/// A name server that answers as the name wants it: `gone` does not exist, `empty` has no address,
/// `silent` gets no answer. It is ended when dropped.
struct NameServer(JoinHandle<()>);

impl NameServer {
    async fn start(address: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((address, 53)).await.unwrap();
        NameServer(tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                let question = &buffer[..length];
                let asks = |label: &[u8]| question.windows(label.len()).any(|part| part == label);
                if asks(b"silent") {
                    continue;
                }
                let mut answer = question.to_vec();
                answer[2] = 0x81; // An answer,
                answer[3] = if asks(b"gone") { 0x83 } else { 0x80 }; // no such name, or no fault,
                answer[6..12].fill(0); // and no record in any section.
                let _ = socket.send_to(&answer, client).await;
            }
        }))
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A gateway inside, asked once: the client's error, the log, and how long the error took.
async fn asked(network: &Namespace, upstream: &str, more: &[&str]) -> (String, String, Took) {
    let listen = format!("{}:0", network.inside);
    let mut args = vec!["serve", "--listen", &listen, "--base-url", upstream];
    for key in more {
        args.extend(["--set", key]);
    }
    let gateway = Tidegate::under(&network.wrapper(), &args).env("API_KEY", "sk-test").start().await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    let watch = Stopwatch::start();
    client.send_text("Is anybody there?").await;
    let (text, error) = client.until_error().await;
    let after = watch.took();
    assert_eq!(text, "");
    until("the run's end is logged", async || gateway.log().contains("run ended")).await;
    // Still usable, and nothing is left of the run.
    client.send_text(" ").await;
    assert!(client.read_text().await.starts_with("Error: The message is empty."));
    client.close().await;
    // A lookup that still hangs must not hold up the stop.
    let log = within("it stops", PATIENCE / 2, gateway.stop()).await;
    (error, log, after)
}

fn retries(log: &str) -> usize {
    log.lines().filter(|line| line.contains("run retrying")).count()
}

// faults: D48
#[tokio::test]
async fn names_that_lead_nowhere() {
    assert_eq!(Config::default().upstream.connect_timeout, Duration::from_secs(5), "resolving counts");
    let network = Namespace::new();
    let _server = NameServer::start(network.outside).await;
    network.name_server(network.outside);
    let unreachable = format!("Error: {}", RunErrorKind::UpstreamUnreachable.sentence());
    for (name, longest) in [("gone.invalid", 1_000), ("empty.test", 1_000), ("silent.test", 2 * 1_000)] {
        let more = ["upstream.connect_timeout=1s", "retry.backoff_min=10ms"];
        let (error, log, after) = asked(&network, &format!("https://{name}/api/v1"), &more).await;
        assert_eq!(error, unreachable, "{name}");
        // Attempts, and what a busy machine adds.
        assert!(after.is_in(..Duration::from_millis(longest + 4_000)), "{name}: {after:?}");
        let run = log.lines().find(|line| line.contains("run ended")).unwrap();
        assert!(run.contains("upstream_unreachable") && run.contains(name), "{run}");
        assert!(!error.contains(name) && !error.contains("198.18."), "{error}");
    }
}

// faults: D49
#[tokio::test]
async fn a_black_hole_is_given_up_after_the_time_to_connect_and_tried_once_more() {
    let network = Namespace::new();
    network.swallow(4444);
    let upstream = format!("http://{}:4444/api/v1", network.outside);
    let more = [
        "upstream.allow_insecure=true",
        "upstream.allow_private=true",
        "upstream.connect_timeout=700ms",
        "retry.backoff_min=10ms",
    ];
    let (error, log, after) = asked(&network, &upstream, &more).await;
    assert_eq!(error, format!("Error: {}", RunErrorKind::UpstreamUnreachable.sentence()));
    assert_eq!(retries(&log), 1, "{log}");
    assert!(after.is_in(Duration::from_millis(1_400)..Duration::from_secs(5)), "{after:?}");
    assert!(log.contains(&format!("{}:4444", network.outside)), "{log}");
}

// faults: K141
#[tokio::test]
async fn a_kept_connection_that_a_firewall_drops_costs_some_seconds_and_no_answer() {
    on_a_steady_machine(async || {
        let network = Namespace::new();
        let listener = TcpListener::bind((network.outside, 0)).await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let listen = format!("{}:0", network.inside);
        let base_url = format!("http://{upstream}/api/v1");
        let more = [
            "upstream.allow_insecure=true",
            "upstream.allow_private=true",
            "upstream.connect_timeout=700ms",
            "server.workers=1",
            // A second attempt would be the wrong way to an answer.
            "retry.attempts=1",
        ];
        let mut args = vec!["serve", "--listen", &listen, "--base-url", &base_url];
        more.iter().for_each(|key| args.extend(["--set", key]));
        let gateway = Tidegate::under(&network.wrapper(), &args).env("API_KEY", "sk-test").start().await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("one").await;
        let (mut first, peer) = within("the gateway connects", PATIENCE, listener.accept()).await.unwrap();
        read_request(&mut first).await.unwrap();
        first.write_all(good_answer("good").as_bytes()).await.unwrap();
        client.expect("good").await;
        // It has forgotten that connection, and notifies neither end.
        network.run(&format!("iptables -w -A OUTPUT -p tcp --sport {} -j DROP", peer.port()));
        let watch = Stopwatch::start();
        client.send_text("two").await;
        let (mut second, _) = within("the gateway connects anew", PATIENCE, listener.accept()).await.unwrap();
        let after = watch.took();
        assert!(after.is_in(Duration::from_millis(1_400)..Duration::from_secs(5)), "{after:?}");
        let (_, body) = read_request(&mut second).await.unwrap();
        assert!(body.contains("two"), "{body}");
        second.write_all(good_answer("fine").as_bytes()).await.unwrap();
        client.expect("fine").await;
        client.close().await;
        let log = gateway.stop().await;
        assert!(log.contains("kept connections to the model service are dropped"), "{log}");
        assert_eq!(retries(&log), 0, "{log}");
    })
    .await;
}
