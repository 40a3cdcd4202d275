//! What attempts used and answers cost: in `/metrics` and in the log.
use crate::harness::{
    CannedUpstream, Chats, Gateway, Process, ScriptedUpstream, TestClient, Tidegate, event, good_answer,
    json_answer, sse_head, until,
};
use std::{collections::BTreeMap, net::SocketAddr};
use tidegate::config::{Config, Flags, Map, load};

/// Model `m` at upstream `a`, whose fallback is model `f` at upstream `b`; each with prices of its own.
fn configure(config: &mut Config, a: SocketAddr, b: SocketAddr) {
    let file = format!(
        "[upstream]\nfirst_token_timeout = '300ms'\n\
         [upstream.a]\nservice = 'dashscope'\napi_key = 'sk-a'\nbase_url = 'http://{a}/api/v1'\n\
         [upstream.b]\nservice = 'dashscope'\napi_key = 'sk-b'\nbase_url = 'http://{b}/api/v1'\n\
         [model.m]\nupstreams = ['a:large']\nfallback = ['f']\nprice_input = '1'\nprice_output = '1'\n\
         [model.f]\nupstreams = ['b:small']\nhidden = true\nprice_input = '100'\nprice_output = '200'\n\
         [route]\ndefault = 'm'\ncurrency = 'CNY'\n"
    );
    let loaded = load(&Flags::default(), &Map::default().file("tidegate.toml", file)).unwrap();
    (config.upstreams, config.models, config.places) = (loaded.upstreams, loaded.models, loaded.places);
    (config.route, config.retry) = (loaded.route, Config::default().retry);
    config.retry.attempts = 1;
}

/// `/metrics` by series, those of inference without the labels that are the same everywhere.
async fn metrics(gateway: &Gateway) -> BTreeMap<String, f64> {
    let text = gateway.get("/metrics").await.1;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let series = lines.filter_map(|line| line.rsplit_once(' '));
    let common = r#"gen_ai_operation_name="chat",gen_ai_provider_name="dashscope",gen_ai_request_model="#;
    series.map(|(name, value)| (name.replace(common, "model="), value.parse().unwrap())).collect()
}

/// Input and output tokens of a target for one use, and what of them is estimated at its upstream.
fn tokens(metrics: &BTreeMap<String, f64>, model: &str, upstream: &str, used_for: &str) -> [f64; 4] {
    let used = |kind| {
        let labels = format!("{{model=\"{model}\",upstream=\"{upstream}\",use=\"{used_for}\"}}");
        metrics[&format!("gen_ai_client_inference_usage_{kind}_tokens_total{labels}")]
    };
    let estimated = |kind| {
        metrics[&format!("tidegate_tokens_estimated_total{{upstream=\"{upstream}\",kind=\"{kind}\"}}")]
    };
    [used("input"), used("output"), estimated("input"), estimated("output")]
}

fn cost(metrics: &BTreeMap<String, f64>, model: &str) -> f64 {
    metrics[&format!("tidegate_cost_total{{model=\"{model}\",currency=\"CNY\"}}")]
}

fn attempts(metrics: &BTreeMap<String, f64>, upstream: &str, outcome: &str) -> f64 {
    metrics[&format!("tidegate_attempts_total{{upstream=\"{upstream}\",outcome=\"{outcome}\"}}")]
}

/// Asks and waits for this answer, then until the run is recorded.
async fn ask(gateway: &Gateway, answer: &str) {
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("hi").await;
    client.expect(answer).await;
    client.close().await;
    until("it is over", async || gateway.is_idle()).await;
}

#[tokio::test]
async fn the_usage_and_the_cost_are_those_of_the_fallback_that_answered() {
    let a =
        CannedUpstream::serve(&[&json_answer(503, r#"{"code":"ServiceUnavailable","message":"m"}"#)]).await;
    let b = CannedUpstream::serve(&[&good_answer("Good.")]).await;
    let gateway = Gateway::in_front_of(a.address, |config| configure(config, a.address, b.address)).await;
    let before = metrics(&gateway).await;
    assert_eq!((cost(&before, "f"), cost(&before, "m")), (0.0, 0.0), "they are there from the start");
    assert_eq!(tokens(&before, "small", "b", "wasted"), [0.0; 4]);
    ask(&gateway, "Good.").await;
    let after = metrics(&gateway).await;
    assert_eq!(tokens(&after, "small", "b", "answer"), [2.0, 1.0, 0.0, 0.0]);
    assert_eq!(tokens(&after, "small", "b", "wasted"), [0.0; 4]);
    // Refused at once: nothing was used.
    for used_for in ["answer", "wasted"] {
        assert_eq!(tokens(&after, "large", "a", used_for), [0.0; 4], "{used_for}");
    }
    assert_eq!((cost(&after, "f"), cost(&after, "m")), (0.0004, 0.0));
    assert!(attempts(&after, "a", "upstream_error") >= 1.0 && attempts(&after, "a", "answered") == 0.0);
    assert_eq!(attempts(&after, "b", "answered"), 1.0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_silent_attempt_is_wasted_and_its_request_estimated() {
    let (a, b) = (ScriptedUpstream::bind().await, CannedUpstream::serve(&[&good_answer("Good.")]).await);
    let gateway = Gateway::in_front_of(a.address, |config| configure(config, a.address, b.address)).await;
    let silent = tokio::spawn(async move {
        let mut connection = a.accept().await;
        connection.request().await;
        connection.closed().await;
    });
    ask(&gateway, "Good.").await;
    silent.await.unwrap();
    let after = metrics(&gateway).await;
    // A message has four tokens beside its text.
    assert_eq!(tokens(&after, "large", "a", "wasted"), [5.0, 0.0, 5.0, 0.0]);
    assert_eq!(tokens(&after, "large", "a", "answer")[..2], [0.0; 2]);
    assert_eq!(tokens(&after, "small", "b", "answer"), [2.0, 1.0, 0.0, 0.0]);
    assert_eq!((cost(&after, "f"), cost(&after, "m")), (0.0004, 0.0));
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_that_was_never_sent_used_nothing() {
    // It takes connections and never answers the handshake of TLS.
    let (a, b) = (ScriptedUpstream::bind().await, CannedUpstream::serve(&[&good_answer("Good.")]).await);
    let gateway = Gateway::in_front_of(a.address, |config| {
        configure(config, a.address, b.address);
        let upstream = config.upstreams.get_mut("a").unwrap();
        upstream.base_url = format!("https://{}/api/v1", a.address).parse().unwrap();
    })
    .await;
    ask(&gateway, "Good.").await;
    let after = metrics(&gateway).await;
    assert_eq!(attempts(&after, "a", "upstream_timeout"), 1.0, "it could not connect in time");
    assert_eq!(tokens(&after, "large", "a", "wasted"), [0.0; 4]);
    assert_eq!(tokens(&after, "small", "b", "answer"), [2.0, 1.0, 0.0, 0.0]);
    gateway.stop().await;
}

/// A response with a length that ends without a finish reason.
fn cut_answer(text: &str) -> String {
    let event = event(text, "null");
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{event}",
        event.len()
    )
}

#[tokio::test]
async fn text_that_was_withdrawn_is_wasted() {
    let a = CannedUpstream::serve(&[&cut_answer("Half")]).await;
    let b = CannedUpstream::serve(&[&good_answer("Good.")]).await;
    let gateway = Gateway::in_front_of(a.address, |config| configure(config, a.address, b.address)).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("hi").await;
    while client.read_text().await != "Good." {}
    client.close().await;
    until("it is over", async || gateway.is_idle()).await;
    let after = metrics(&gateway).await;
    assert_eq!(tokens(&after, "large", "a", "wasted"), [2.0, 1.0, 0.0, 0.0]);
    assert_eq!(tokens(&after, "large", "a", "answer"), [0.0; 4]);
    assert_eq!(tokens(&after, "small", "b", "answer"), [2.0, 1.0, 0.0, 0.0]);
    assert_eq!((cost(&after, "f"), cost(&after, "m")), (0.0004, 0.0));
    assert_eq!(after[r#"tidegate_restarts_total{dialect="plain",outcome="restarted"}"#], 1.0);
    gateway.stop().await;
}

/// A frame without usage.
fn uncounted(text: &str) -> String {
    let event = event(text, "null");
    let (head, rest) = event.split_once(",\"usage\":{").unwrap();
    format!("{head}{}", rest.split_once('}').unwrap().1)
}

#[tokio::test]
async fn a_stopped_answer_has_the_usage_of_the_text_that_is_kept() {
    let a = CannedUpstream::serve(&[&cut_answer("Half")]).await;
    let b = ScriptedUpstream::bind().await;
    let mut gateway = Gateway::in_front_of(a.address, |config| configure(config, a.address, b.address)).await;
    let mut chats = Chats::connect(gateway.address).await;
    for (name, new_text) in [("r1", None), ("r2", Some("Whole"))] {
        chats.ask(name, name, "hi").await;
        let mut connection = b.accept().await;
        connection.request().await;
        connection.send(sse_head()).await;
        if let Some(text) = new_text {
            connection.chunk(uncounted(text)).await;
        }
        // The old text is kept until there is new one.
        let seen = new_text.unwrap_or("moving");
        while !chats.next().await.to_string().contains(seen) {}
        chats.abort(name).await;
        let (mut frames, mut frame) = (String::new(), chats.next().await);
        while frame["type"] != "end" {
            frames += &frame.to_string();
            frame = chats.next().await;
        }
        assert_eq!(frames.contains(r#""input_tokens":2"#), new_text.is_none(), "{frames}");
        assert_eq!(frames.contains(r#""usage""#), new_text.is_none(), "{frames}");
        connection.closed().await;
    }
    drop(chats);
    gateway.drain().await;
}

// faults: E85
#[tokio::test]
async fn an_answer_that_is_left_before_its_tokens_are_counted_is_estimated() {
    let a = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(a.address, |config| configure(config, a.address, a.address)).await;
    for (text, output) in [("", 0.0), ("12345678", 2.0)] {
        let before = metrics(&gateway).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("hi").await;
        let mut connection = a.accept().await;
        connection.request().await;
        connection.send(sse_head()).await;
        if !text.is_empty() {
            connection.chunk(uncounted(text)).await;
            client.expect(text).await;
        }
        drop(client);
        connection.closed().await;
        until("it is over", async || gateway.is_idle()).await;
        let after = metrics(&gateway).await;
        let now = tokens(&after, "large", "a", "answer");
        let was = tokens(&before, "large", "a", "answer");
        assert_eq!([0, 1, 2, 3].map(|at| now[at] - was[at]), [5.0, output, 5.0, output], "{text}");
        // Input and output cost the same.
        let spent = (cost(&after, "m") - cost(&before, "m")) * 1e6;
        assert!((spent - 5.0 - output).abs() < 1e-6, "{spent}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_log_has_what_an_answer_used_and_cost() {
    let simulator = Process::simulate().await;
    let file = format!(
        "[upstream]\nbase_url = '{}'\napi_key = 'sk-test'\n\
         [model.plus]\nupstreams = ['default:sim-chat']\n\
         price_input = '0.8'\nprice_cached = '0.2'\nprice_output = '2'\n\
         [model.free]\nupstreams = ['default:sim-chat']\n\
         [route]\ndefault = 'plus'\ncurrency = 'CNY'\n",
        simulator.base_url()
    );
    let gateway =
        Tidegate::new(&["serve", "--listen", "127.0.0.1:0"]).file("tidegate.toml", &file).start().await;
    let mut lines = Vec::new();
    for (path, message) in [
        ("", "/sim text=\"Good.\""),
        ("?model=free", "/sim text=\"Good.\""),
        ("", "/sim text=\"Good.\" no_usage"),
    ] {
        let mut client = TestClient::connect(&format!("{}{path}", gateway.chat_url())).await;
        client.send_text(message).await;
        client.expect("Good.").await;
        client.close().await;
        let ended = || gateway.log().lines().filter(|line| line.contains("run ended")).count();
        until("the run is logged", async || ended() > lines.len()).await;
        lines.push(gateway.log().lines().rfind(|line| line.contains("run ended")).unwrap().to_owned());
    }
    let field = |at: usize, name: &str| {
        let value = lines[at].split_once(&format!(" {name}="))?.1;
        Some(value.split(' ').next().unwrap_or_default().to_owned())
    };
    for (at, usage) in [(0, "reported"), (1, "reported"), (2, "estimated")] {
        for (name, value) in
            [("usage", usage), ("answered_by", "default/k1"), ("moved", "0"), ("restarted", "0")]
        {
            assert_eq!(field(at, name).as_deref(), Some(value), "{}", lines[at]);
        }
    }
    for at in [0, 2] {
        let tokens = |name| field(at, name).unwrap().parse::<u64>().unwrap();
        let billionths = tokens("input_tokens") * 800 + tokens("output_tokens") * 2_000;
        let cost: f64 = field(at, "cost").unwrap().parse().unwrap();
        assert_eq!((cost * 1e9).round() as u64, billionths, "{}", lines[at]);
    }
    assert_eq!(field(1, "cost"), None, "a model without prices: {}", lines[1]);
    gateway.stop().await;
    simulator.stop().await;
}
