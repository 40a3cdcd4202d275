//! What a user sees when the upstream fails before, in or instead of the head of its response.
use crate::harness::{
    CannedUpstream, Chats, Gateway, Over, SOON, ScriptedUpstream, Stopwatch, TestClient, Tidegate, event,
    good_answer, json_answer, on_a_steady_machine, sse_head, until,
};
use futures_util::future::join_all;
use secrecy::SecretString;
use std::time::Duration;
use tidegate::{chat::RunErrorKind as Kind, config::Config};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

/// Tables make many faults in a row; the budget of retries is the matter of one test.
fn free_retries(config: &mut Config) {
    config.retry.budget_percent = 100;
}

/// One worker has one pool of connections.
fn one_worker(config: &mut Config) {
    free_retries(config);
    config.server.workers = 1;
}

/// Each row: switches of the simulator, requests that it must see, the error that the user must see.
/// No text is shown, the next message is answered, and the failed one is not sent again with it.
async fn refusals(rows: &[(&str, u64, Kind)]) {
    for over in Over::ALL {
        refusals_over(over, rows).await;
    }
}

async fn refusals_over(over: Over, rows: &[(&str, u64, Kind)]) {
    let gateway = Gateway::spawn_over(over, free_retries).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    for (switches, requests, kind) in rows {
        let before = gateway.upstream().requests();
        client.send_text(&format!("/sim {switches}")).await;
        assert_eq!(client.fails(*kind).await, "", "{switches}");
        assert_eq!(gateway.upstream().requests() - before, *requests, "{switches}");
        client.still_works().await;
        let messages = gateway.last_messages();
        assert!(messages.iter().all(|(role, text)| role == "assistant" || text == "/sim text=fine"));
        assert!(gateway.app_state.metrics.runs_ended(kind.code()) > 0, "{switches}");
    }
    client.close().await;
    gateway.stop().await;
}

/// Each row: switches that must give the answer "good", and the requests that it takes.
async fn answers(over: Over, change: impl Fn(&mut Config), rows: &[(&str, u64)]) {
    let gateway = Gateway::spawn_over(over, |config| {
        free_retries(config);
        change(config);
    })
    .await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    for (switches, requests) in rows {
        let before = gateway.upstream().requests();
        client.send_text(&format!("/sim text=good {switches}")).await;
        client.expect("good").await;
        assert_eq!(gateway.upstream().requests() - before, *requests, "{switches}");
        client.still_works().await;
    }
    client.close().await;
    gateway.stop().await;
}

// faults: D47
#[tokio::test]
async fn a_refused_connection_is_retried_and_the_host_is_not_revealed() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = Gateway::in_front_of(address, |_| {}).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("hi").await;
    let error = client.read_text().await;
    assert_eq!(error, "Error: The model service cannot be reached. Try again later.");
    assert_eq!(gateway.app_state.metrics.retries.get(), 2);
    client.close().await;
    gateway.stop().await;
}

// faults: D49
#[tokio::test]
async fn a_connection_that_is_never_answered_is_given_up_and_tried_once_more() {
    // A listener that accepts nothing and whose queue is full: the kernel drops further connections.
    let hole = TcpSocket::new_v4().unwrap();
    hole.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let hole = hole.listen(1).unwrap();
    let address = hole.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
    }
    let gateway =
        Gateway::in_front_of(address, |config| config.upstream.connect_timeout = Duration::from_millis(400))
            .await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    let watch = Stopwatch::start();
    client.send_text("hi").await;
    assert_eq!(client.read_text().await, "Error: The model service cannot be reached. Try again later.");
    let took = watch.took();
    assert!(took.is_in(Duration::from_millis(800)..Duration::from_secs(4)), "{took:?}");
    assert_eq!(gateway.app_state.metrics.retries.get(), 1);
    client.close().await;
    gateway.stop().await;
}

// faults: D48
#[tokio::test]
async fn an_unknown_host_name_is_logged_but_not_shown_to_the_user() {
    let started =
        Tidegate::new(&["serve", "--listen", "127.0.0.1:0", "--base-url", "https://nowhere.invalid"]);
    let gateway =
        started.env("API_KEY", "sk-test").env("TIDEGATE_UPSTREAM__CONNECT_TIMEOUT", "2s").start().await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    let watch = Stopwatch::start();
    client.send_text("hi").await;
    assert_eq!(client.read_text().await, "Error: The model service cannot be reached. Try again later.");
    // Two or three attempts, and no user waits for a resolver that is silent.
    assert!(watch.took().is_in(..Duration::from_secs(9)), "{:?}", watch.took());
    client.close().await;
    let log = gateway.stop().await;
    let is_named =
        |line: &str| line.contains("outcome=upstream_unreachable") && line.contains("nowhere.invalid: ");
    assert!(log.lines().any(is_named), "{log}");
}

// faults: D51, D52, D53
#[tokio::test]
async fn what_a_person_must_change_first_is_not_tried_again() {
    refusals(&[
        ("status=401", 1, Kind::NotSetUp),
        ("status=401 code=InvalidApiKey", 1, Kind::NotSetUp),
        ("html status=401", 1, Kind::NotSetUp),
        ("html status=403", 1, Kind::NotSetUp),
        ("status=403 code=Model.AccessDenied", 1, Kind::NotSetUp),
        ("status=403 code=AccessDenied.Unpurchased", 1, Kind::NotAvailable),
        ("status=400", 1, Kind::BadRequest),
        ("status=400 message=\"Range of input length should be [1, 30720]\"", 1, Kind::InputTooLong),
        ("status=413", 1, Kind::InputTooLong),
        ("html status=413", 1, Kind::InputTooLong),
        ("status=404", 1, Kind::ModelNotFound),
        ("status=400 code=Model.NotExist", 1, Kind::ModelNotFound),
    ])
    .await;
}

/// The service takes the gateway's own disconnect for a cancellation, and may report one that was none.
#[tokio::test]
async fn a_cancellation_that_the_service_reports_ends_the_run() {
    refusals(&[("status=400 code=ClientDisconnect", 1, Kind::Cancelled)]).await;
}

// faults: D54
#[tokio::test]
async fn rate_limits_are_retried_unless_the_wait_is_too_long_or_the_bill_is_unpaid() {
    refusals(&[
        ("status=429", 3, Kind::RateLimited),
        ("status=429 retry_after=garbage", 3, Kind::RateLimited),
        ("status=429 retry_after=-1", 3, Kind::RateLimited),
        ("status=429 retry_after_ms=2 retry_after=86400", 3, Kind::RateLimited),
        ("status=429 retry_after=\"Thu, 01 Jan 1970 00:00:00 GMT\"", 3, Kind::RateLimited),
        ("status=429 code=Throttling.AllocationQuota", 3, Kind::RateLimited),
        ("status=429 retry_after=86400", 1, Kind::RateLimited),
        ("status=429 retry_after=61", 1, Kind::RateLimited),
        ("status=429 retry_after=\"Fri, 31 Dec 2049 23:59:59 GMT\"", 1, Kind::RateLimited),
        ("status=503 retry_after=86400", 1, Kind::UpstreamError),
        ("status=429 code=PrepaidBillOverdue", 1, Kind::NotAvailable),
        ("status=400 code=Arrearage", 1, Kind::NotAvailable),
        ("status=403 code=AllocationQuota.FreeTierOnly", 1, Kind::NotAvailable),
        (
            "status=429 code=Throttling.AllocationQuota message=\"Free allocated quota exceeded.\"",
            1,
            Kind::NotAvailable,
        ),
    ])
    .await;
}

// faults: D54
#[tokio::test]
async fn the_wait_that_the_upstream_asks_for_is_kept() {
    let gateway = Gateway::spawn(|_| {}).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    let watch = Stopwatch::start();
    client.send_text("/sim status=429 retry_after=1 times=1 text=good").await;
    client.expect("good").await;
    let took = watch.took();
    assert!(took.is_in(Duration::from_secs(1)..Duration::from_secs(4)), "{took:?}");
    assert_eq!(gateway.upstream().requests(), 2);
    client.close().await;
    gateway.stop().await;
}

// faults: D55, D56, D57
#[tokio::test]
async fn faults_of_the_service_are_tried_again_and_foreign_answers_are_not() {
    refusals(&[
        ("status=500", 3, Kind::UpstreamError),
        ("status=502", 3, Kind::UpstreamError),
        ("status=503", 3, Kind::UpstreamError),
        ("status=504", 2, Kind::UpstreamTimeout),
        ("html", 3, Kind::UpstreamError),
        ("html status=500", 3, Kind::UpstreamError),
        ("empty", 3, Kind::UpstreamError),
        ("empty status=504", 3, Kind::UpstreamError),
        ("json_error", 3, Kind::UpstreamError),
        ("json_error code=Throttling.RateQuota", 3, Kind::RateLimited),
        ("json_error code=InvalidApiKey", 1, Kind::NotSetUp),
        ("json_error code=DataInspectionFailed", 1, Kind::InputRefused),
        ("html status=200", 1, Kind::UpstreamProtocol),
        ("wrong_type=text/html", 1, Kind::UpstreamProtocol),
        ("wrong_type=text/plain", 1, Kind::UpstreamProtocol),
        ("no_type", 1, Kind::UpstreamProtocol),
        ("empty status=200", 1, Kind::UpstreamProtocol),
    ])
    .await;
}

// faults: D58, D59, D61
#[tokio::test]
async fn heads_that_cannot_be_taken_end_the_run_at_once() {
    refusals(&[
        ("redirect", 1, Kind::NotSetUp),
        ("redirect status=301", 1, Kind::NotSetUp),
        ("redirect status=308", 1, Kind::NotSetUp),
        ("headers=200", 1, Kind::UpstreamProtocol),
        ("header_bytes=3000000", 1, Kind::UpstreamProtocol),
        ("bad_status_line", 1, Kind::UpstreamProtocol),
        ("gzip", 1, Kind::UpstreamProtocol),
        ("bomb_mib=64", 1, Kind::UpstreamProtocol),
    ])
    .await;
}

// faults: D54, D55, D56, D59, D60, E75, E80, E81
#[tokio::test]
async fn a_fault_that_passes_leaves_a_good_answer_and_no_error() {
    on_a_steady_machine(async || {
        let change = |config: &mut Config| config.upstream.first_byte_timeout = Duration::from_millis(300);
        for over in Over::ALL {
            answers(
                over,
                change,
                &[
                    ("json_instead", 1),
                    ("headers=60", 1),
                    ("header_bytes=20000", 1),
                    ("status=500 times=1", 2),
                    ("status=503 times=2", 3),
                    ("status=504 times=1", 2),
                    ("status=429 times=2", 3),
                    ("status=429 retry_after_ms=20 times=1", 2),
                    ("html times=1", 2),
                    ("empty times=2", 3),
                    ("carrier=b status=500 times=1", 2),
                    ("carrier=c status=500 times=1", 2),
                    ("json_error times=1", 2),
                    ("no_head times=1", 2),
                    ("until_close times=1", 2),
                    ("half_chunk text=\"\" text=good times=1", 1),
                    ("cut_after=0 times=1", 2),
                    ("reset_after=0 times=1", 2),
                    ("end_after=0 times=1", 2),
                ],
            )
            .await;
        }
    })
    .await;
}

// faults: D58
#[tokio::test]
async fn where_a_redirect_points_no_request_and_no_key_arrives() {
    let target = ScriptedUpstream::bind().await;
    let redirect = format!(
        "HTTP/1.1 307 Elsewhere\r\nlocation: http://{}/api/v1\r\ncontent-length: 0\r\n\r\n",
        target.address
    );
    let upstream = CannedUpstream::serve(&[&redirect]).await;
    let gateway = Gateway::in_front_of(upstream.address, |_| {}).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("hi").await;
    let error = client.read_text().await;
    assert_eq!(error, "Error: The service is not set up correctly. Tell the operator.");
    assert!(target.is_left_alone(Duration::from_millis(100)).await);
    assert_eq!(upstream.requests(), 1);
    client.close().await;
    gateway.stop().await;
}

// faults: D59
#[tokio::test]
async fn an_interim_response_leaves_no_answer_behind_for_the_next_request() {
    for over in Over::ALL {
        let upstream = ScriptedUpstream::bind().await;
        let gateway = Gateway::in_front_over(over, upstream.address, one_worker).await;
        let mut one = TestClient::connect(&gateway.chat_url()).await;
        let mut other = TestClient::connect(&gateway.chat_url()).await;
        one.send_text("one").await;
        let mut first = upstream.accept().await;
        first.request().await;
        first.send("HTTP/1.1 103 Early Hints\r\nlink: </nowhere>; rel=preload\r\n\r\n").await;
        assert_eq!(one.fails(Kind::UpstreamProtocol).await, "");
        other.send_text("two").await;
        // The first connection still owes an answer, so it must not be the one that is used.
        let mut second = upstream.accept().await;
        let (_, body) = second.request().await;
        assert!(body.contains("\"two\""), "{body}");
        first.closed().await;
        second.send(good_answer("for two")).await;
        other.expect("for two").await;
        one.close().await;
        other.close().await;
        gateway.stop().await;
    }
}

// faults: E80
#[tokio::test]
async fn a_body_of_unknown_length_leaves_nothing_behind_either() {
    for over in Over::ALL {
        let upstream = ScriptedUpstream::bind().await;
        let gateway = Gateway::in_front_over(over, upstream.address, one_worker).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("hi").await;
        let mut first = upstream.accept().await;
        first.request().await;
        first.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await;
        let mut second = upstream.accept().await;
        second.request().await;
        first.closed().await;
        second.send(good_answer("good")).await;
        client.expect("good").await;
        client.close().await;
        gateway.stop().await;
    }
}

// faults: E80
#[tokio::test]
async fn an_old_server_ends_its_answer_with_its_connection() {
    let head = "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let rows = [("stop", true), ("null", false)];
    for (over, (finish, complete)) in Over::ALL.into_iter().flat_map(|over| rows.map(|row| (over, row))) {
        let upstream = ScriptedUpstream::bind().await;
        let gateway = Gateway::in_front_over(over, upstream.address, |_| {}).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("hi").await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        connection.send(format!("{head}{}{}", event("Hel", "null"), event("lo", finish))).await;
        drop(connection);
        client.expect("Hello").await;
        if !complete {
            assert_eq!(client.fails(Kind::Interrupted).await, "");
        }
        client.send_text("next").await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        connection.send(good_answer("fine")).await;
        client.expect("fine").await;
        client.close().await;
        gateway.stop().await;
    }
}

// faults: H110
#[tokio::test]
async fn an_address_in_brackets_is_reached() {
    let upstream = ScriptedUpstream::bind_to("[::1]:0").await;
    let gateway = Gateway::in_front_of(upstream.address, |_| {}).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("hi").await;
    let mut connection = upstream.accept().await;
    let (head, _) = connection.request().await;
    assert!(head.contains(&format!("\r\nhost: {}\r\n", upstream.address)), "{head}");
    connection.send(good_answer("good")).await;
    client.expect("good").await;
    client.close().await;
    gateway.stop().await;
}

// faults: D60
#[tokio::test]
async fn a_missing_head_times_out_and_is_retried_once() {
    on_a_steady_machine(async || {
        let gateway =
            Gateway::spawn(|config| config.upstream.first_byte_timeout = Duration::from_millis(200)).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        let watch = Stopwatch::start();
        client.send_text("/sim no_head").await;
        assert_eq!(client.fails(Kind::UpstreamTimeout).await, "");
        let took = watch.took();
        assert!(took.is_in(Duration::from_millis(400)..SOON), "{took:?}");
        assert_eq!(gateway.upstream().requests(), 2);
        until("both connections are closed", async || gateway.upstream().cancelled() == 2).await;
        // A head that is late, but not too late, is no fault.
        client.send_text("/sim head_ms=100 text=late").await;
        client.expect("late").await;
        client.close().await;
        gateway.stop().await;
    })
    .await;
}

// faults: D62
#[tokio::test]
async fn a_kept_connection_that_is_closed_just_then_is_replaced_in_silence() {
    for over in Over::ALL {
        let upstream = ScriptedUpstream::bind().await;
        let gateway = Gateway::in_front_over(over, upstream.address, one_worker).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("one").await;
        let mut connection = upstream.accept().await;
        for (way, text) in [("after the request", "two"), ("with a reset", "three"), ("while idle", "four")] {
            connection.request().await;
            connection.send(good_answer("fine")).await;
            client.expect("fine").await;
            if way == "while idle" {
                drop(connection);
                client.send_text(text).await;
            } else {
                client.send_text(text).await;
                connection.request().await;
                if way == "with a reset" { connection.reset() } else { drop(connection) }
            }
            connection = upstream.accept().await;
        }
        let (_, body) = connection.request().await;
        assert!(body.contains("\"four\""), "{body}");
        connection.send(good_answer("good")).await;
        client.expect("good").await;
        assert_eq!(gateway.app_state.metrics.retries.get(), 0);
        client.close().await;
        gateway.stop().await;
    }
}

// faults: D63
#[tokio::test]
async fn a_response_that_arrives_before_the_request_was_read_is_used() {
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(upstream.address, |config| {
        config.connection.message_bytes_max = 1 << 20;
        config.connection.frame_bytes_max = 2 << 20;
    })
    .await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("hi").await;
    let mut connection = upstream.accept().await;
    connection.send(good_answer("early")).await;
    client.expect("early").await;
    drop(connection);
    let large = "x".repeat(1_000_000);
    client.send_text(&large).await;
    let mut connection = upstream.accept().await;
    let head = connection.request_head().await;
    let refusal = json_answer(413, r#"{"code":"BadRequest.TooLarge","message":"Payload Too Large"}"#);
    connection.send(refusal).await;
    connection.half_close(&head).await;
    assert_eq!(client.fails(Kind::InputTooLong).await, "");
    // One that hangs up in the middle of every request is a service that cannot be reached.
    client.send_text(&large).await;
    let mut connections = 0;
    let text = tokio::select! {
        text = client.fails(Kind::UpstreamUnreachable) => text,
        () = async {
            loop {
                upstream.accept().await.request_head().await;
                connections += 1;
            }
        } => unreachable!(),
    };
    assert_eq!((text.as_str(), connections), ("", 4), "one silent attempt and three counted ones");
    client.close().await;
    gateway.stop().await;
}

// faults: D64
#[tokio::test]
async fn more_runs_than_a_client_has_connections_by_default_stream_at_the_same_time() {
    const RUNS: usize = 130;
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(upstream.address, one_worker).await;
    let mut clients = join_all((0..RUNS).map(async |_| TestClient::connect(&gateway.chat_url()).await)).await;
    for client in &mut clients {
        client.send_text("hi").await;
    }
    let mut streams = Vec::new();
    for _ in 0..RUNS {
        let mut stream = upstream.accept().await;
        stream.request().await;
        stream.send(sse_head()).await;
        stream.delta("first ").await;
        streams.push(stream);
    }
    for client in &mut clients {
        client.expect("first ").await;
    }
    assert_eq!(gateway.app_state.metrics.runs.get(), RUNS as i64);
    for stream in &mut streams {
        stream.delta("last").await;
        stream.finish().await;
    }
    for mut client in clients {
        client.expect("last").await;
        client.close().await;
    }
    gateway.stop().await;
}

// faults: C38, D64
#[tokio::test]
async fn beyond_the_slots_a_run_waits_and_beyond_the_queue_it_is_refused_at_once() {
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(upstream.address, |config| {
        one_worker(config);
        config.dispatch.runs_max = 2;
        config.dispatch.queue_max = 1;
    })
    .await;
    let mut clients = join_all((0..4).map(async |_| TestClient::connect(&gateway.chat_url()).await)).await;
    let mut streams = Vec::new();
    for (n, client) in clients.iter_mut().take(2).enumerate() {
        client.send_text(&format!("message {n}")).await;
        let mut stream = upstream.accept().await;
        stream.request().await;
        stream.send(sse_head()).await;
        streams.push(stream);
    }
    clients[2].send_text("message 2").await;
    until("the third waits", async || gateway.app_state.metrics.runs_queued.get() == 1).await;
    let watch = Stopwatch::start();
    clients[3].send_text("message 3").await;
    assert_eq!(clients[3].fails(Kind::Overloaded).await, "");
    assert!(watch.took().is_in(..SOON), "{:?}", watch.took());
    assert!(upstream.is_left_alone(Duration::from_millis(50)).await, "only two run");
    streams[0].delta("done").await;
    streams[0].finish().await;
    clients[0].expect("done").await;
    // The slot goes to the one that waits, and the connection with it.
    let (_, body) = streams[0].request().await;
    assert!(body.contains("message 2"), "{body}");
    streams[0].send(good_answer("done")).await;
    clients[2].expect("done").await;
    streams[1].delta("done").await;
    streams[1].finish().await;
    clients[1].expect("done").await;
    for client in clients {
        client.close().await;
    }
    gateway.stop().await;
}

// faults: C38
#[tokio::test]
async fn no_run_waits_for_a_slot_longer_than_allowed() {
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(upstream.address, |config| {
        config.dispatch.runs_max = 1;
        config.dispatch.queue_timeout = Duration::from_millis(100);
    })
    .await;
    let mut first = TestClient::connect(&gateway.chat_url()).await;
    first.send_text("first").await;
    let mut stream = upstream.accept().await;
    stream.request().await;
    let mut second = TestClient::connect(&gateway.chat_url()).await;
    let watch = Stopwatch::start();
    second.send_text("second").await;
    assert_eq!(second.fails(Kind::QueueTimeout).await, "");
    let took = watch.took();
    assert!(took.is_in(Duration::from_millis(100)..SOON), "{took:?}");
    stream.send(good_answer("unharmed")).await;
    first.expect("unharmed").await;
    first.close().await;
    second.close().await;
    gateway.stop().await;
}

// faults: C45, D55
#[tokio::test]
async fn an_outage_is_not_multiplied_by_retries() {
    const RUNS: usize = 100;
    let refusal = json_answer(500, r#"{"code":"InternalError","message":"down"}"#);
    for (answer, kind) in [(refusal.as_str(), Kind::UpstreamError), ("", Kind::UpstreamUnreachable)] {
        let upstream = CannedUpstream::serve(&[answer]).await;
        let gateway = Gateway::in_front_of(upstream.address, |_| {}).await;
        let clients = (0..10).map(async |_| {
            let mut client = TestClient::connect(&gateway.chat_url()).await;
            for _ in 0..RUNS / 10 {
                client.send_text("hi").await;
                assert_eq!(client.fails(kind).await, "");
            }
            client.close().await;
        });
        join_all(clients).await;
        let requests = upstream.requests();
        assert!((RUNS..=RUNS * 11 / 10 + 10).contains(&requests), "{requests} requests for {RUNS} runs");
        gateway.stop().await;
    }
}

// faults: D51, I119
#[tokio::test]
async fn the_key_is_shown_nowhere_even_if_the_upstream_repeats_it() {
    const KEY: &str = "sk-canary-5f0c1d";
    let error = format!(r#"{{"code":"{KEY}","message":"wrong key {KEY}","request_id":"{KEY}"}}"#);
    let stream = |event: &str| format!("{}{:x}\r\n{event}\r\n0\r\n\r\n", sse_head(), event.len());
    let first = stream(&format!("event:error\n:HTTP_STATUS/401\ndata:{error}\n\n"));
    let later = stream(&format!("{}event:error\n:HTTP_STATUS/401\ndata:{error}\n\n", event("Hel", "null")));
    let page = json_answer(502, &format!("<html>authorization: Bearer {KEY}</html>"));
    let echo =
        format!("HTTP/1.1 200 {KEY}\r\ncontent-type: {KEY}\r\nlocation: {KEY}\r\ncontent-length: 0\r\n\r\n");
    let answers = [&json_answer(401, &error), &json_answer(200, &error), &first, &later, &page, &echo];
    let mut shown = String::new();
    for answer in answers {
        let upstream = CannedUpstream::serve(&[answer]).await;
        let gateway = Gateway::in_front_of(upstream.address, |config| {
            config.upstream.api_key = Some(SecretString::from(KEY));
        })
        .await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("hi").await;
        let (text, error) = client.until_error().await;
        shown.push_str(&format!("{text}{error}\n"));
        for path in ["/metrics", "/health", "/readyz?verbose=1", "/livez", "/v1/models", "/"] {
            shown.push_str(&gateway.get(path).await.1);
        }
        client.close().await;
        gateway.stop().await;
    }
    assert!(shown.contains("Hel") && shown.contains("tidegate_runs_ended"), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
}

// faults: E85
#[tokio::test]
async fn a_client_that_disconnects_ends_its_run_in_any_state() {
    let gateway = Gateway::spawn(|config| {
        free_retries(config);
        config.dispatch.runs_max = 1;
        config.retry.backoff_min = Duration::from_secs(60);
        config.retry.backoff_max = Duration::from_secs(60);
    })
    .await;
    let upstream = gateway.upstream();
    for (message, requests) in [
        ("/sim no_head", 1),
        ("/sim stall_after=2", 1),
        ("/sim status=429 retry_after=30", 1),
        ("/sim tokens=100000 pace_ms=1", 1),
    ] {
        let before = upstream.requests();
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text(message).await;
        until("it is asked", async || upstream.requests() - before == requests).await;
        // This one waits for the only slot, and goes as well.
        let mut waiting = TestClient::connect(&gateway.chat_url()).await;
        waiting.send_text("/sim text=never").await;
        until("the other waits", async || gateway.app_state.metrics.runs_queued.get() == 1).await;
        drop(waiting);
        until("it does not wait any more", async || gateway.app_state.metrics.runs_queued.get() == 0).await;
        drop(client);
        let closed = async || upstream.open_streams() == 0 && gateway.is_idle();
        until("upstream and slot are free", closed).await;
        assert_eq!(upstream.requests() - before, requests, "{message}");
    }
    gateway.stop().await;
}

// faults: E85
#[tokio::test]
async fn tokens_of_a_cancelled_answer_are_counted() {
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(upstream.address, |_| {}).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("hi").await;
    let mut connection = upstream.accept().await;
    connection.request().await;
    connection.send(sse_head()).await;
    connection.delta("He").await;
    client.expect("He").await;
    drop(client);
    connection.closed().await;
    until("the run is over", async || gateway.is_idle()).await;
    let metrics = gateway.get("/metrics").await.1;
    let labels = metrics.split("duration_seconds_count{").find(|rest| rest.starts_with("gen_ai_operation"));
    let labels = labels.unwrap().split('}').next().unwrap().to_owned();
    for line in [
        "tidegate_runs_ended_total{outcome=\"cancelled\"} 1\n",
        "gen_ai_client_inference_duration_seconds_count{@} 1\n",
        "gen_ai_client_inference_usage_input_tokens_total{@,use=\"answer\"} 2\n",
        "gen_ai_client_inference_usage_output_tokens_total{@,use=\"answer\"} 1\n",
    ] {
        let line = line.replace('@', &labels);
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    gateway.stop().await;
}

// faults: D54, K146
#[tokio::test]
async fn a_wait_that_overflows_an_integer_is_not_reported() {
    let endless =
        ["99999999999999999999999", "18446744073709551615", "Fri, 31 Dec 9999 23:59:59 GMT", "360001"];
    let answers = endless.map(|after| {
        let body = r#"{"code":"Throttling","message":"slow","request_id":"r"}"#;
        json_answer(429, body).replacen("\r\n", &format!("\r\nretry-after: {after}\r\n"), 1)
    });
    let upstream = CannedUpstream::serve(&answers.each_ref().map(String::as_str)).await;
    let mut gateway = Gateway::in_front_of(upstream.address, free_retries).await;
    let mut client = Chats::connect(gateway.address).await;
    for (number, after) in endless.iter().enumerate() {
        let name = format!("r{number}");
        client.ask(&name, &name, "hi").await;
        let error = loop {
            let frame = client.next().await;
            if frame["type"] == "error" {
                break frame;
            }
        };
        assert_eq!(error["errorText"], "The model is busy. Try again in a moment. (request r)", "{after}");
        assert!(error.get("retryAfterMs").is_none(), "{error}");
    }
    assert_eq!(upstream.requests(), endless.len(), "none of them was waited for");
    drop(client);
    until("no socket is left", async || gateway.app_state.lifecycle.sockets() == 0).await;
    assert_eq!(gateway.drain().await, tidegate::app::Ended::Drained);
}
