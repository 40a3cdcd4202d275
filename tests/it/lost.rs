//! Clients that are lost or half there: in the middle of an answer, at any moment, without a cable.
use crate::harness::{
    Gateway, PATIENCE, Process, RawClient, SOON, ScriptedUpstream, Stopwatch, Tidegate, frame, kernel,
    on_a_steady_machine, sse_head, until, within,
};
use futures_util::future::join_all;
use std::time::Duration;
use tidegate::config::Config;
use tokio::{io::AsyncWriteExt, process::Command};

// faults: A20
#[tokio::test]
async fn a_half_closed_reader_is_dropped_without_a_busy_loop() {
    let upstream = ScriptedUpstream::bind().await;
    let base_url = format!("http://{}/api/v1", upstream.address);
    let gateway = Tidegate::new(&["serve", "--listen", "127.0.0.1:0", "--base-url", &base_url])
        .env("API_KEY", "sk-test")
        .start()
        .await;
    // Idle; in the middle of an answer; in the middle of one that it does not read.
    let mut idle = RawClient::upgrade(gateway.address).await;
    idle.stream.shutdown().await.unwrap();
    assert_eq!(idle.read_to_end(SOON).await, b"");
    let mut reading = RawClient::upgrade(gateway.address).await;
    reading.write(&frame(0x81, b"hi")).await;
    let mut connection = upstream.accept().await;
    connection.request().await;
    connection.send(sse_head()).await;
    connection.delta("He").await;
    assert_eq!(reading.read_frame().await, (0x81, b"He".to_vec()));
    reading.stream.shutdown().await.unwrap();
    assert!(connection.closed().await.is_in(..SOON));
    assert_eq!(reading.read_to_end(SOON).await, b"");
    let mut stuck = RawClient::upgrade_narrow(gateway.address).await;
    stuck.write(&frame(0x81, b"hi")).await;
    let mut connection = upstream.accept().await;
    connection.request().await;
    connection.send(sse_head()).await;
    let text = "x".repeat(10_000);
    while tokio::time::timeout(Duration::from_millis(300), connection.try_delta(&text)).await.is_ok() {}
    stuck.stream.shutdown().await.unwrap();
    let (cpu, watch) = (gateway.cpu(), Stopwatch::start());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (cpu, wall) = (gateway.cpu() - cpu, watch.took().wall);
    println!("CPU {cpu:?} of {wall:?} with a half-closed socket that does not read");
    assert!(cpu < wall / 5, "busy: {cpu:?} of {wall:?}");
    drop(stuck);
    until("all are gone", async || gateway.is_idle().await).await;
    gateway.stop().await;
}

// faults: A24
#[tokio::test]
async fn a_hundred_sockets_that_ask_and_are_lost_within_a_second_leave_nothing() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &[]).await;
    let round = async |ways: &[&str]| {
        for n in 0..100 {
            let mut client = RawClient::upgrade(gateway.address).await;
            client.write(&frame(0x81, b"/sim text=\"some words of an answer\" pace_ms=50")).await;
            match ways[n % ways.len()] {
                "reset" => client.reset(),
                "close" => client.write(&frame(0x88, &1000u16.to_be_bytes())).await,
                "read" => drop(client.read_frame().await),
                _ => drop(client),
            }
        }
    };
    round(&["fin"]).await;
    until("it is idle", async || gateway.is_idle().await).await;
    let threads = || kernel::threads(gateway.pid());
    let (descriptors, threads_before) = (gateway.descriptors(), threads());
    round(&["reset", "fin", "close"]).await;
    round(&["read", "reset", "fin", "close"]).await;
    until("it is idle", async || gateway.is_idle().await).await;
    // Connections to the model are kept for a while, but they are no more than before.
    until("its descriptors are back", async || gateway.descriptors() <= descriptors + 2).await;
    assert_eq!(threads(), threads_before);
    assert_eq!(gateway.metric("tidegate_connections").await, 0);
    assert_eq!(gateway.metric("tidegate_runs").await, 0);
    gateway.stop().await;
    simulator.stop().await;
}

/// Runs that ended, however they did.
fn runs_ended(gateway: &Gateway) -> u64 {
    let text = gateway.app_state.metrics.text().unwrap();
    let ended = text.lines().filter_map(|line| line.strip_prefix("tidegate_runs_ended_total{"));
    ended.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

// faults: A14
#[tokio::test]
async fn leaving_at_any_moment_ends_the_turn_exactly_once() {
    // With a gateway for each, so that they need not wait for each other.
    let ways = ["before the head", "in the stream", "with the last delta", "after the end", "twice"];
    join_all(ways.map(leaves_at)).await;
}

async fn leaves_at(way: &str) {
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(upstream.address, |config| config.server.workers = 1).await;
    let close = frame(0x88, &1000u16.to_be_bytes());
    const TIMES: u64 = 10;
    for _ in 0..TIMES {
        let mut client = RawClient::upgrade(gateway.address).await;
        client.write(&frame(0x81, b"hi")).await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        if way != "before the head" {
            connection.send(sse_head()).await;
            connection.delta("He").await;
            assert_eq!(client.read_frame().await, (0x81, b"He".to_vec()));
        }
        match way {
            "with the last delta" => {
                tokio::join!(connection.finish(), client.write(&close));
            }
            "after the end" => {
                connection.delta("llo").await;
                connection.finish().await;
                assert_eq!(client.read_frame().await, (0x81, b"llo".to_vec()));
                client.write(&close).await;
            }
            "twice" => {
                client.write(&close).await;
                client.write(&close).await;
            }
            _ => client.write(&close).await,
        }
        if way == "twice" {
            client.reset();
        } else {
            client.read_to_end(PATIENCE).await;
        }
        until("it is over", async || gateway.is_idle()).await;
        // A connection that has served an answer whole may be used for the next one; not in this test.
        drop(connection);
    }
    assert_eq!(runs_ended(&gateway), TIMES, "{way}: one end each");
    gateway.stop().await;
}

/// Set when the test runs in a network of its own.
const INSIDE: &str = "inside-a-network-of-its-own";

/// The test starts itself again in a network namespace, where packets may be dropped.
// faults: A19
#[tokio::test]
async fn a_pulled_cable_is_noticed_and_closes_the_upstream() {
    if std::env::args().any(|arg| arg == INSIDE) {
        return on_a_steady_machine(without_a_cable).await;
    }
    let name = "lost::a_pulled_cable_is_noticed_and_closes_the_upstream";
    let root = rustix::process::geteuid().is_root();
    let again = Command::new("unshare")
        .arg(if root { "--net" } else { "--map-root-user" })
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, INSIDE, "--nocapture"])
        .output();
    let again = within("the test in its own network", Duration::from_secs(60), again).await;
    let again = again.expect("unshare, of util-linux, is installed");
    let output = String::from_utf8_lossy(&again.stdout) + String::from_utf8_lossy(&again.stderr);
    println!("{output}");
    assert!(
        again.status.success() && output.contains("1 passed"),
        "in a network namespace, which needs root or user namespaces: {output}"
    );
}

async fn sh(command: &str) {
    let output = Command::new("/bin/sh").args(["-c", command]).output().await.unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn without_a_cable() {
    sh("ip link set lo up").await;
    // By the defaults: a ping goes out, or there is something to acknowledge already; then silence.
    let connection = Config::default().connection;
    let unnoticed = connection.idle_timeout + connection.ping_interval;
    assert!(unnoticed <= Duration::from_secs(45), "{connection:?}");
    assert!(connection.write_timeout * 7 / 6 <= Duration::from_secs(15), "{connection:?}");
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(upstream.address, |config| {
        config.connection.idle_timeout = Duration::from_secs(2);
        config.connection.ping_interval = Duration::from_secs(1);
        config.connection.write_timeout = Duration::from_secs(1);
    })
    .await;
    let bound = Duration::from_secs(2 + 1);
    // What the answer does meanwhile: it goes on, it is silent, it comes faster than the kernel takes it.
    for way in ["goes on", "silent", "fast"] {
        let mut client = RawClient::upgrade(gateway.address).await;
        client.write(&frame(0x81, b"hi")).await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        connection.send(sse_head()).await;
        connection.delta("He").await;
        assert_eq!(client.read_beyond_pings().await, (0x81, b"He".to_vec()));
        let port = client.stream.local_addr().unwrap().port();
        for rule in [format!("--sport {port}"), format!("--dport {port}")] {
            sh(&format!("iptables -A INPUT -p tcp {rule} -j DROP")).await;
        }
        let watch = Stopwatch::start();
        match way {
            "silent" => drop(connection.closed().await),
            _ => {
                let text = if way == "fast" { "x".repeat(10_000) } else { "x".repeat(10) };
                let pause = Duration::from_millis(if way == "fast" { 0 } else { 50 });
                let talk = async {
                    while connection.try_delta(&text).await.is_ok() {
                        tokio::time::sleep(pause).await;
                    }
                };
                within("the upstream is closed", PATIENCE, talk).await;
            }
        }
        until("the socket is gone", async || gateway.is_idle()).await;
        let took = watch.took();
        eprintln!("{way}: {took:?}");
        assert!(took.is_in(..bound + Duration::from_secs(2)), "{way}: {took:?}");
    }
    gateway.stop().await;
}
