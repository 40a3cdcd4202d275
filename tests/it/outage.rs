//! Outages of an upstream that has a second one behind it: all are answered, it is asked rarely meanwhile, and found again.
use crate::harness::{Gateway, Simulated, TestClient, read_request, until};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tidegate::config::{Config, Flags, Map, load};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::sleep,
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Model `m` at upstream `a`, then at `b`; the breaker is the product's, with this `open_time`.
fn configured(config: &mut Config, service: &str, a: &str, b: &Simulated, open_time: Duration) {
    let file = format!(
        "[upstream.a]\nservice = '{service}'\napi_key = 'sk-a'\nbase_url = 'http://{a}/v1'\nallow_insecure = true\n\
         [upstream.b]\nservice = 'other'\napi_key = 'sk-b'\nbase_url = 'http://{}/v1'\n\
         [model.m]\nupstreams = ['a:sim-chat', 'b:sim-chat']\n[route]\ndefault = 'm'\n",
        b.address
    );
    let loaded = load(&Flags::default(), &Map::default().file("tidegate.toml", file)).unwrap();
    (config.upstreams, config.models, config.places) = (loaded.upstreams, loaded.models, loaded.places);
    (config.route, config.retry, config.breaker) = (loaded.route, loaded.retry, loaded.breaker);
    config.breaker.open_time = open_time;
}

/// Twenty conversations of twenty addresses, one after the other, until the first is answered by the upstream that was out.
async fn an_outage_is_routed_round(fault: &str, lasts: u64, back_within: u64) {
    let (first, second) = (Simulated::start("A"), Simulated::start("B"));
    let gateway = Gateway::in_front_of(first.address, |config| {
        configured(config, "other", &first.address.to_string(), &second, ms(500));
    })
    .await;
    let message = format!("/sim at=A text=\"Good.\" {fault} for_ms={lasts}");
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(TestClient::from(gateway.address, [127, 3, 0, 1 + number].into()).await);
    }
    let is_good = || first.stats.attempts().iter().position(|attempt| attempt.status == 200);
    let mut turns = 0;
    while is_good().is_none() {
        assert!(turns < 60, "{fault}: it is not found again");
        let client = &mut clients[turns % 20];
        client.send_text(&message).await;
        client.expect("Good.").await;
        turns += 1;
        sleep(ms(400)).await;
    }
    let attempts = first.stats.attempts();
    let good = is_good().unwrap_or_default();
    assert!(good <= 14, "{fault}: asked {good} times in the outage");
    let took = attempts[good].at_ms - attempts[0].at_ms;
    assert!((lasts..lasts + back_within).contains(&took), "{fault}: back after {took} ms");
    // All that follow are answered there.
    let before = (first.asked(), second.asked());
    for client in &mut clients {
        client.send_text("/sim text=fine").await;
        client.expect("fine").await;
    }
    assert_eq!((first.asked() - before.0, second.asked() - before.1), (20, 0), "{fault}");
    for client in clients {
        client.close().await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn s15_an_upstream_that_is_out_is_asked_rarely_and_found_again() {
    // A service that says that it is full is given up to 10 s between two attempts.
    tokio::join!(
        an_outage_is_routed_round("status=503", 5_000, 10_000),
        an_outage_is_routed_round("status=500", 5_000, 6_000),
    );
}

/// An engine whose probe fails twice before all is well. Keeps the first lines of its requests, in lower case.
async fn engine(listener: TcpListener, asked: Arc<Mutex<Vec<String>>>) {
    let mut probes = 0;
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (request, _) = read_request(&mut stream).await.unwrap();
        let line = request.lines().next().unwrap_or_default().trim_end_matches(" http/1.1").to_owned();
        let response = if line == "get /health" {
            probes += 1;
            let status = if probes <= 2 { "503 Service Unavailable" } else { "200 OK" };
            format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        } else {
            let event = r#"{"choices":[{"index":0,"delta":{"content":"Good."},"finish_reason":"stop"}]}"#;
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: {event}\n\ndata: [DONE]\n\n"
            )
        };
        asked.lock().unwrap().push(line);
        stream.write_all(response.as_bytes()).await.unwrap();
        drop::<TcpStream>(stream);
    }
}

#[tokio::test]
async fn an_engine_that_was_away_is_probed_before_a_run_tries_it() {
    let second = Simulated::start("B");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let gateway = Gateway::in_front_of(second.address, |config| {
        configured(config, "vllm", &address.to_string(), &second, ms(300));
    })
    .await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    let state = || gateway.app_state.router.upstream_state(0).as_str();
    until("the breaker is open", async || {
        client.send_text("/sim text=Good.").await;
        client.expect("Good.").await;
        state() == "open"
    })
    .await;
    let listener = TcpListener::bind(address).await.unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let engine = tokio::spawn(engine(listener, Arc::clone(&asked)));
    until("a probe is good", async || state() == "half_open").await;
    assert_eq!(*asked.lock().unwrap(), ["get /health"; 3], "no run before it");
    client.send_text("/sim text=Good.").await;
    client.expect("Good.").await;
    assert_eq!(asked.lock().unwrap()[3..], ["post /v1/chat/completions"]);
    until("it is found again", async || state() == "closed").await;
    sleep(ms(700)).await;
    assert_eq!(asked.lock().unwrap().len(), 4, "nothing is probed while all is well");
    client.close().await;
    gateway.stop().await;
    engine.abort();
}
