//! Connections to the model service that are kept between answers, and answers whose body stays open.
use crate::harness::{
    Answer, Chats, Gateway, ScriptedUpstream, Stopwatch, TestClient, event, good_answer, json_answer,
    on_a_steady_machine, read_request, sse_head, until, within,
};
use futures_util::future::join_all;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tidegate::config::Config;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Barrier,
    task::JoinHandle,
};

/// As it is without a configuration; tests have others by default.
fn as_served(config: &mut Config) {
    config.retry = Config::default().retry;
    config.breaker = Config::default().breaker;
}

/// A service whose connections can be made to end with a reset at their next use, without a word before.
struct Forgetful {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    forgets: AtomicBool,
    connections: AtomicUsize,
    resets: AtomicUsize,
    answered: AtomicUsize,
}

impl Forgetful {
    /// Answers only when this number of requests have arrived, so that there are as many connections.
    async fn start(together: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let barrier = Arc::new(Barrier::new(together));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&shared), Arc::clone(&barrier)));
            }
        });
        Forgetful { address, state, task }
    }
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>, barrier: Arc<Barrier>) {
    let is_old = !state.forgets.load(SeqCst);
    while read_request(&mut stream).await.is_ok() {
        if is_old && state.forgets.load(SeqCst) {
            state.resets.fetch_add(1, SeqCst);
            return socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        barrier.wait().await;
        stream.write_all(good_answer("good").as_bytes()).await.unwrap();
        state.answered.fetch_add(1, SeqCst);
    }
}

// faults: K141
#[tokio::test]
async fn kept_connections_that_all_died_cost_no_answer() {
    const USERS: usize = 60;
    let upstream = Forgetful::start(USERS).await;
    // The budget is ten at the start, and nothing comes in.
    let gateway = Gateway::in_front_of(upstream.address, |config| {
        as_served(config);
        config.retry.budget_percent = 0;
    })
    .await;
    let mut clients =
        join_all((0..USERS).map(async |_| TestClient::connect(&gateway.chat_url()).await)).await;
    for round in 1..=2 {
        join_all(clients.iter_mut().map(async |client| {
            client.send_text("hi").await;
            client.expect("good").await;
        }))
        .await;
        let state = &upstream.state;
        assert_eq!(state.answered.load(SeqCst), round * USERS);
        assert_eq!(
            state.connections.load(SeqCst),
            round * USERS,
            "nothing that was connected anew is dropped"
        );
        state.forgets.store(true, SeqCst);
    }
    let metrics = &gateway.app_state.metrics;
    let resets = upstream.state.resets.load(SeqCst);
    assert!(resets > 0);
    assert_eq!(metrics.upstream_dead_connections.get(), resets as u64);
    assert_eq!(metrics.retries.get(), 0);
    assert_eq!(gateway.app_state.router.upstream_state(0).as_str(), "closed");
    for client in clients {
        client.close().await;
    }
    gateway.stop().await;
}

// faults: K141
#[tokio::test]
async fn a_dead_connection_is_no_attempt_and_leaves_the_budget_alone() {
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(upstream.address, |config| {
        as_served(config);
        config.server.workers = 1;
        config.retry.budget_percent = 0;
        config.retry.backoff_min = Duration::from_millis(1);
    })
    .await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("hi").await;
    let mut connection = upstream.accept().await;
    connection.request().await;
    // More often than the budget would bear.
    for _ in 0..15 {
        connection.send(good_answer("good")).await;
        client.expect("good").await;
        client.send_text("hi").await;
        connection.request().await;
        connection.reset();
        connection = upstream.accept().await;
        connection.request().await;
    }
    // The budget is whole: this is the first that it pays for.
    connection.send(json_answer(500, r#"{"code":"InternalError","message":"down"}"#)).await;
    connection.request().await;
    connection.send(good_answer("good")).await;
    client.expect("good").await;
    assert_eq!(gateway.app_state.metrics.retries.get(), 1);
    assert_eq!(gateway.app_state.metrics.upstream_dead_connections.get(), 15);
    client.close().await;
    gateway.stop().await;
}

/// A frame without usage, or with it alone.
fn frame(text: &str, finish: &str, usage: &str) -> String {
    let event = event(text, finish);
    let (head, rest) = event.split_once(",\"usage\":{").unwrap();
    let (_, rest) = rest.split_once('}').unwrap();
    format!("{head}{usage}{rest}")
}

const USAGE: &str = ",\"usage\":{\"input_tokens\":7,\"output_tokens\":5}";

// faults: K148
#[tokio::test]
async fn an_answer_ends_with_its_finish_and_not_with_its_body() {
    on_a_steady_machine(async || {
        let upstream = ScriptedUpstream::bind().await;
        let gateway = Gateway::in_front_of(upstream.address, |_| {}).await;
        let mut socket = Chats::connect(gateway.address).await;
        let watch = Stopwatch::start();
        socket.ask("r1", "c1", "hi").await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        connection.send(sse_head()).await;
        connection.chunk(event("Hello", "null")).await;
        connection.chunk(event("", "stop")).await;
        let mut answer = Answer::of("r1");
        socket.read_answer(&mut answer).await;
        assert_eq!(answer.text, "Hello");
        assert!(watch.took().is_in(..Duration::from_secs(1)), "{:?}", watch.took());
        // The slot is kept until the service has let go of the answer, or had a second for it.
        assert_eq!(gateway.app_state.metrics.runs.get(), 1);
        connection.closed().await;
        assert!(watch.took().is_in(..Duration::from_secs(4)), "{:?}", watch.took());
        until("the slot is free", async || gateway.app_state.metrics.runs.get() == 0).await;
        // A body that ends a little later leaves a connection that can be used again.
        socket.ask("r2", "c1", "hi").await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        connection.send(sse_head()).await;
        connection.chunk(event("Hello", "stop")).await;
        socket.read_answer(&mut Answer::of("r2")).await;
        connection.send("0\r\n\r\n").await;
        until("the slot is free", async || gateway.app_state.metrics.runs.get() == 0).await;
        assert_eq!(gateway.app_state.metrics.runs_ended("stop"), 2);
        drop(socket);
        stop(gateway).await;
    })
    .await;
}

// faults: K148
#[tokio::test]
async fn usage_after_the_finish_is_sent_if_it_is_quick_and_counted_in_any_case() {
    on_a_steady_machine(async || {
        for quick in [true, false] {
            let upstream = ScriptedUpstream::bind().await;
            let gateway = Gateway::in_front_of(upstream.address, |_| {}).await;
            let mut socket = Chats::connect(gateway.address).await;
            socket.ask("r1", "c1", "hi").await;
            let mut connection = upstream.accept().await;
            connection.request().await;
            connection.send(sse_head()).await;
            connection.chunk(frame("Hello", "stop", "")).await;
            if quick {
                connection.chunk(frame("", "stop", USAGE)).await;
            }
            let frames = within("the end", Duration::from_secs(2), async {
                let mut frames = String::new();
                loop {
                    let frame = socket.next().await;
                    frames += &frame.to_string();
                    if frame["type"] == "end" {
                        return frames;
                    }
                }
            })
            .await;
            assert_eq!(frames.contains("\"input_tokens\":7"), quick, "{frames}");
            assert_eq!(frames.contains("\"usage\""), quick, "unknown is not zero: {frames}");
            if !quick {
                connection.chunk(frame("", "stop", USAGE)).await;
            }
            connection.send("0\r\n\r\n").await;
            until("the run is over", async || gateway.app_state.metrics.runs.get() == 0).await;
            let metrics = gateway.get("/metrics").await.1;
            for (name, value) in [("input", 7), ("output", 5)] {
                let name = format!("gen_ai_client_inference_usage_{name}_tokens_total");
                for (used_for, value) in [("answer", value), ("wasted", 0)] {
                    let end = format!("use=\"{used_for}\"}} {value}");
                    let is_it = |line: &str| line.starts_with(&name) && line.ends_with(&end);
                    assert!(metrics.lines().any(is_it), "quick={quick}: {metrics}");
                }
            }
            drop(socket);
            stop(gateway).await;
        }
    })
    .await;
}

/// A chat outlives its sockets, so nothing is waited for.
async fn stop(mut gateway: Gateway) {
    gateway.drain().await;
}
