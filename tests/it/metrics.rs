//! `/metrics` from outside: both formats, promtool's opinion, and the figures of known traffic.
use crate::harness::{Chats, Gateway, RawClient, TestClient, get_with, handshake, until};
use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command};

/// What promtool finds in a page of metrics.
async fn promtool(text: &str) -> String {
    // Where tests/run puts it when the system has none.
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/prometheus/usr/bin/promtool");
    let mut promtool = Command::new(if own.exists() { own } else { "promtool".into() })
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (Debian: prometheus)");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let output = promtool.wait_with_output().await.unwrap();
    let found = [output.stdout, output.stderr].concat();
    format!("{}{}", String::from_utf8_lossy(&found), if output.status.success() { "" } else { "failed" })
}

/// The values of a page of Prometheus text, by series.
fn values(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let series = lines.filter_map(|line| line.rsplit_once(' '));
    series.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

async fn page(gateway: &Gateway) -> String {
    let (status, text) = gateway.get("/metrics").await;
    assert_eq!(status, 200);
    text
}

/// Good, failed, cancelled, refused, resumed: something of everything.
async fn mixed_load(gateway: &Gateway) {
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("/sim tokens=40 pace_ms=1").await;
    client.read_text().await;
    client.send_text("").await;
    client.until_error().await;
    client.send_text("/sim status=500").await;
    client.until_error().await;
    client.close().await;
    let mut leaver = TestClient::connect(&gateway.chat_url()).await;
    leaver.send_text("/sim text=endless stall_after=1").await;
    leaver.read_text().await;
    drop(leaver);
    let old = handshake(gateway.address, &[]).replace("version: 13", "version: 8");
    let head = RawClient::connect(gateway.address).await.request(&old).await;
    assert!(head.starts_with("HTTP/1.1 426"), "{head}");
    until("all is over", async || gateway.is_idle()).await;
}

#[tokio::test]
async fn promtool_finds_nothing_at_rest_and_under_load() {
    let gateway = Gateway::spawn(|config| config.retry.attempts = 1).await;
    assert_eq!(promtool(&page(&gateway).await).await, "");
    mixed_load(&gateway).await;
    let loaded = page(&gateway).await;
    assert_eq!(promtool(&loaded).await, "");
    assert!(loaded.len() < 64 * 1024, "{} bytes", loaded.len());
    assert!(
        promtool("# HELP a_total b\n# TYPE a_total gauge\na_total 1\n").await.contains("a_total"),
        "it looks"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn the_format_is_the_one_that_was_asked_for() {
    let gateway = Gateway::spawn(|_| {}).await;
    for (accept, kind) in [
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ] {
        let (_, head, body) = get_with(gateway.address, "/metrics", &[("accept", accept)]).await;
        let head = head.to_lowercase();
        assert!(head.contains(&format!("content-type: {kind}\r\n")), "{accept}: {head}");
        assert!(head.contains("vary: accept\r\n"), "{head}");
        assert_eq!(body.ends_with("# EOF\n"), kind.starts_with("application/"), "{accept}");
    }
    gateway.stop().await;
}

/// No event makes a series: each was there before, but for histograms with a label.
#[tokio::test]
async fn no_counter_is_born_by_its_first_event() {
    let gateway = Gateway::spawn(|config| config.retry.attempts = 1).await;
    let before = values(&page(&gateway).await);
    mixed_load(&gateway).await;
    let after = values(&page(&gateway).await);
    let born: Vec<_> = after.keys().filter(|name| !before.contains_key(*name)).collect();
    assert!(born.iter().all(|name| name.starts_with("tidegate_turn_duration_seconds")), "{born:?}");
    for counted in [
        r#"tidegate_upgrades_rejected_total{reason="version"}"#,
        r#"tidegate_messages_rejected_total{reason="empty_message"}"#,
        r#"tidegate_runs_ended_total{outcome="cancelled"}"#,
        r#"tidegate_upstream_errors_total{upstream="default",kind="upstream_error"}"#,
        r#"tidegate_connections_closed_total{reason="client"}"#,
        r#"tidegate_connections_closed_total{reason="lost"}"#,
    ] {
        assert!(before[counted] == 0.0 && after[counted] >= 1.0, "{counted}: {}", after[counted]);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn one_answer_is_counted_once_everywhere() {
    let gateway = Gateway::spawn(|_| {}).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("/sim text=\"My name is Ada.\" pace_ms=1").await;
    client.expect("My name is Ada.").await;
    client.close().await;
    until("it is over", async || gateway.is_idle()).await;
    let sum = |values: &BTreeMap<String, f64>, name: &str| {
        let series = values.iter().filter(|(series, _)| series.split('{').next() == Some(name));
        series.map(|(_, value)| value).sum::<f64>()
    };
    // The bytes of sockets are gathered ten times a second.
    until("the bytes are counted", async || {
        values(&page(&gateway).await)[r#"tidegate_bytes_total{leg="client",direction="out"}"#] > 0.0
    })
    .await;
    let text = page(&gateway).await;
    let values = values(&text);
    for name in [
        "tidegate_connections_opened_total",
        "tidegate_connections_closed_total",
        "tidegate_messages_total",
        "tidegate_runs_ended_total",
        "tidegate_turn_duration_seconds_count",
        "tidegate_turn_first_delta_seconds_count",
        "tidegate_queue_wait_seconds_count",
        "gen_ai_client_inference_duration_seconds_count",
        "gen_ai_client_inference_time_to_first_chunk_seconds_count",
    ] {
        assert_eq!(sum(&values, name), 1.0, "{name}");
    }
    for name in ["input", "output"] {
        assert!(sum(&values, &format!("gen_ai_client_inference_usage_{name}_tokens_total")) > 0.0, "{name}");
    }
    for (leg, direction, at_least) in [
        ("client", "in", 30.0),
        ("client", "out", 15.0),
        ("upstream", "in", 100.0),
        ("upstream", "out", 50.0),
    ] {
        let bytes = values[&format!("tidegate_bytes_total{{leg=\"{leg}\",direction=\"{direction}\"}}")];
        assert!((at_least..100_000.0).contains(&bytes), "{leg} {direction}: {bytes}");
    }
    let labels = r#"{gen_ai_operation_name="chat",gen_ai_provider_name="dashscope",gen_ai_request_model="#;
    assert!(text.contains(&format!("gen_ai_client_inference_duration_seconds_count{labels}")), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn resumes_are_counted_by_what_became_of_them() {
    let gateway = Gateway::spawn(|config| config.session.idle_timeout = Duration::from_millis(100)).await;
    let mut socket = Chats::connect(gateway.address).await;
    socket.resume("r1", "nowhere", None).await;
    assert_eq!(socket.next().await["type"], "no-active");
    socket.turn("r2", "chat", "/sim text=good").await;
    socket.resume("r3", "chat", None).await;
    assert_ne!(socket.next().await["type"], "no-active");
    socket.resume("r4", "chat", Some(1_000_000)).await;
    let count = |outcome: &'static str| gateway.app_state.metrics.resumes.get(outcome);
    until("all three are counted", async || ["no_active", "replayed", "refused"].map(count) == [1, 1, 1])
        .await;
    drop(socket);
    gateway.stop().await;
}
