//! Failures at one of two simulated upstreams, before the first text: who is asked how often, and that the answer is whole.
use crate::harness::{Gateway, Simulated, TestClient, until};
use std::{net::SocketAddr, time::Duration};
use tidegate::{
    chat::RunErrorKind,
    config::{Config, Flags, Map, load},
};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Spoken {
    DashScope,
    Chat,
}

impl Spoken {
    pub(crate) fn keys(self, address: SocketAddr) -> String {
        match self {
            Spoken::DashScope => format!("service = 'dashscope'\nbase_url = 'http://{address}/api/v1'\n"),
            Spoken::Chat => format!("service = 'other'\nbase_url = 'http://{address}/v1'\n"),
        }
    }
}

/// Model `m` at upstream `a`; its fallback is model `f` at upstream `b`, with this context.
pub(crate) fn configured(config: &mut Config, a: &str, b: &str, context: u32) {
    let file = format!(
        "[upstream]\nfirst_byte_timeout = '500ms'\nfirst_token_timeout = '1s'\ntext_timeout = '1s'\n[upstream.a]\napi_key = 'sk-a'\n{a}[upstream.b]\napi_key = 'sk-b'\n{b}\
         [model.m]\nupstreams = ['a:sim-chat']\nfallback = ['f']\ncontext = 8000\n\
         [model.f]\nupstreams = ['b:sim-chat']\ncontext = {context}\nhidden = true\n[route]\ndefault = 'm'\n"
    );
    let source = Map::default().file("tidegate.toml", file);
    let loaded = load(&Flags::default(), &source).unwrap();
    (config.upstreams, config.models, config.places) = (loaded.upstreams, loaded.models, loaded.places);
    (config.route, config.retry) = (loaded.route, Config::default().retry);
}

/// What an answer comes to.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Whole,
    Fails(RunErrorKind),
}

/// Attempts at both upstreams.
type Attempts = (usize, usize);

const CASES: &[(&str, &str, Ends, Attempts)] = &[
    ("S01", "status=429 retry_after=1 times=1", Ends::Whole, (2, 0)),
    ("S02", "status=429", Ends::Whole, (3, 1)),
    ("S03", "status=500 times=1", Ends::Whole, (2, 0)),
    ("S04", "error=full", Ends::Whole, (1, 1)),
    ("S05", "reset times=1", Ends::Whole, (2, 0)),
    ("S06", "no_head", Ends::Whole, (1, 1)),
    ("S07", "late_ms=8000 keepalive_ms=100", Ends::Whole, (1, 1)),
    ("S12", "error=too_long", Ends::Whole, (1, 1)),
    ("S13", "error=filter", Ends::Fails(RunErrorKind::InputRefused), (1, 0)),
    ("a refused key", "error=key", Ends::Whole, (1, 1)),
    ("no rights", "error=rights", Ends::Whole, (1, 1)),
    ("no money", "error=money", Ends::Whole, (1, 1)),
    ("an unknown model", "error=model", Ends::Whole, (1, 1)),
];

/// A message whose answer is `Good.`, unless it fails at simulator A.
fn message(switches: &str, tag: &str) -> String {
    format!("/sim at=A text=\"Good.\" {switches} tag={tag}")
}

async fn failures_are_routed_round(a: Spoken, b: Spoken) {
    let (first, second) = (Simulated::start("A"), Simulated::start("B"));
    for (number, (name, switches, ends, attempts)) in CASES.iter().enumerate() {
        let before = (first.asked(), second.asked());
        let gateway = Gateway::in_front_of(first.address, |config| {
            configured(config, &a.keys(first.address), &b.keys(second.address), 32_000);
        })
        .await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text(&message(switches, &format!("case{number}"))).await;
        match ends {
            Ends::Whole => client.expect("Good.").await,
            Ends::Fails(kind) => assert_eq!(client.fails(*kind).await, "", "{name}"),
        }
        let asked = (first.asked() - before.0, second.asked() - before.1);
        assert_eq!(asked, *attempts, "{name}, {a:?} and {b:?}");
        if *name == "S01" {
            let times: Vec<_> = first.stats.attempts().iter().map(|attempt| attempt.at_ms).collect();
            let gap = times[times.len() - 1] - times[times.len() - 2];
            assert!(gap >= 900, "it came back after {gap} ms");
        }
        client.close().await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn failures_at_dashscope_are_routed_round() {
    failures_are_routed_round(Spoken::DashScope, Spoken::DashScope).await;
    failures_are_routed_round(Spoken::DashScope, Spoken::Chat).await;
}

#[tokio::test]
async fn failures_at_chat_completions_are_routed_round() {
    failures_are_routed_round(Spoken::Chat, Spoken::Chat).await;
    failures_are_routed_round(Spoken::Chat, Spoken::DashScope).await;
}

#[tokio::test]
async fn a_prompt_too_long_for_all_is_not_shopped_round() {
    let (first, second) = (Simulated::start("A"), Simulated::start("B"));
    let gateway = Gateway::in_front_of(first.address, |config| {
        let spoken = Spoken::Chat;
        configured(config, &spoken.keys(first.address), &spoken.keys(second.address), 4_000);
    })
    .await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text(&message("error=too_long", "x")).await;
    client.fails(RunErrorKind::InputTooLong).await;
    assert_eq!((first.asked(), second.asked()), (1, 0));
    client.close().await;
    gateway.stop().await;
}

#[tokio::test]
async fn moves_are_counted_and_shown_and_what_is_out_is_not_asked() {
    let (first, second) = (Simulated::start("A"), Simulated::start("B"));
    let gateway = Gateway::in_front_of(first.address, |config| {
        configured(
            config,
            &Spoken::DashScope.keys(first.address),
            &Spoken::Chat.keys(second.address),
            32_000,
        );
    })
    .await;
    for number in 0..3 {
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text(&message("error=key", &number.to_string())).await;
        client.expect("Good.").await;
        client.close().await;
    }
    assert_eq!((first.asked(), second.asked()), (1, 3), "the key is out after the first refusal");
    until("the runs are recorded", async || gateway.is_idle()).await;
    let metrics = gateway.get("/metrics").await.1;
    for line in [
        r#"tidegate_moves_total{model="m",kind="not_set_up"} 1"#,
        r#"tidegate_attempts_total{upstream="a",outcome="not_set_up"} 1"#,
        r#"tidegate_attempts_total{upstream="b",outcome="answered"} 3"#,
        r#"tidegate_keys{upstream="a",state="out"} 1"#,
        r#"tidegate_target_state{upstream="a",model="sim-chat"} 3"#,
        r#"tidegate_upstream_runs{upstream="b"} 0"#,
    ] {
        assert!(metrics.contains(&format!("{line}\n")), "{line} in {metrics}");
    }
    let health: serde_json::Value = serde_json::from_str(&gateway.get("/health").await.1).unwrap();
    assert_eq!(health["upstreams"][0]["keys"], serde_json::json!({"ok": 0, "cooling": 0, "out": 1}));
    assert_eq!(health["upstreams"][0]["last_error"]["kind"], "not_set_up");
    assert_eq!(health["models"][0]["state"], "degraded");
    assert_eq!(health["models"][0]["targets"][0]["state"], "out");
    assert!(!health.to_string().contains("sk-a") && !metrics.contains("sk-a"));
    gateway.stop().await;
}

/// One person whose messages make the service fail, and five who are answered meanwhile.
#[tokio::test]
async fn one_source_that_provokes_errors_takes_nothing_from_the_others() {
    let (first, second) = (Simulated::start("A"), Simulated::start("B"));
    let gateway = Gateway::in_front_of(first.address, |config| {
        configured(
            config,
            &Spoken::DashScope.keys(first.address),
            &Spoken::DashScope.keys(second.address),
            32_000,
        );
        (config.breaker, config.connection.frames_per_second_max) = (Config::default().breaker, 0);
    })
    .await;
    let mut attacker = TestClient::from(gateway.address, [127, 2, 0, 1].into()).await;
    for number in 0..100 {
        attacker.send_text(&message("status=500 code=InternalError", &format!("n{number}"))).await;
        attacker.expect("Good.").await;
        if number % 20 == 0 {
            let before = first.asked();
            let address = [127, 1, 0, 1 + number / 20];
            let mut other = TestClient::from(gateway.address, address.into()).await;
            other.send_text("/sim text=fine").await;
            other.expect("fine").await;
            assert_eq!(first.asked() - before, 1, "served by the first upstream");
            other.close().await;
        }
        assert_eq!(gateway.app_state.router.upstream_state(0).as_str(), "closed", "{number}");
    }
    attacker.close().await;
    gateway.stop().await;
}

/// An upstream that is not there costs its runs no pause, and its breaker opens.
#[tokio::test]
async fn an_upstream_that_is_not_there_is_passed_by() {
    let second = Simulated::start("B");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::in_front_of(second.address, |config| {
        configured(config, &Spoken::Chat.keys(gone), &Spoken::Chat.keys(second.address), 32_000);
        (config.breaker, config.breaker.open_time) = (Config::default().breaker, Duration::from_secs(60));
    })
    .await;
    for number in 0..8 {
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text(&message("", &number.to_string())).await;
        client.expect("Good.").await;
        client.close().await;
    }
    assert_eq!(second.asked(), 8);
    assert_eq!(gateway.app_state.router.upstream_state(0).as_str(), "open");
    until("the runs are recorded", async || gateway.is_idle()).await;
    let metrics = gateway.get("/metrics").await.1;
    assert!(
        metrics.contains("tidegate_moves_total{model=\"m\",kind=\"upstream_unreachable\"} 5\n"),
        "{metrics}"
    );
    gateway.stop().await;
}
