//! The plain dialect: what a user of `/chat` sees.
use crate::harness::{
    Gateway, PATIENCE, RawClient, SOON, ScriptedUpstream, Stopwatch, TestClient, frame, frame_head,
    handshake, on_a_steady_machine, sse_head, until, within,
};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn the_model_remembers_the_earlier_turns() {
    let gateway = Gateway::spawn(|_| {}).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("/sim text=\"Hello, 世界\"\n").await;
    client.expect("Hello, 世界").await;
    client.send_text("/sim text=again\r\n").await;
    client.expect("again").await;
    let bodies = gateway.upstream().recorded();
    let second: serde_json::Value = serde_json::from_str(&bodies[1].body).unwrap();
    assert_eq!(
        second["input"]["messages"],
        serde_json::json!([
            {"role": "user", "content": "/sim text=\"Hello, 世界\""},
            {"role": "assistant", "content": "Hello, 世界"},
            {"role": "user", "content": "/sim text=again"},
        ])
    );
    client.close().await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_asked_of_the_upstream_is_what_dashscope_wants() {
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(upstream.address, |config| {
        config.session.system_prompt = "be kind".into();
    })
    .await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("hi").await;
    let mut connection = upstream.accept().await;
    let (head, body) = connection.request().await;
    for line in [
        "post /api/v1/services/aigc/text-generation/generation http/1.1",
        "authorization: bearer sk-test",
        "content-type: application/json",
        "x-dashscope-sse: enable",
        "accept-encoding: identity",
    ] {
        assert!(head.contains(&format!("{line}\r\n")), "{line} in {head}");
    }
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "model": "sim-chat",
            "input": {"messages": [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": "hi"},
            ]},
            "parameters": {"result_format": "message", "incremental_output": true},
        })
    );
    connection.send(sse_head()).await;
    connection.delta("Hel").await;
    client.expect("Hel").await;
    connection.delta("lo").await;
    connection.finish().await;
    client.expect("lo").await;
    client.close().await;
    gateway.stop().await;
}

// faults: A10, A12
#[tokio::test]
async fn bad_messages_get_an_error_and_the_socket_stays_usable() {
    let gateway = Gateway::spawn(|config| config.connection.message_bytes_max = 50).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(client.read_text().await, "Error: Binary messages are not understood. Send text.");
    client.send_text(" \n\u{200b}").await;
    assert_eq!(client.read_text().await, "Error: The message is empty. Write something.");
    client.send_text(&"x".repeat(51)).await;
    let text = "Error: The message has 51 bytes; at most 50 are allowed. Shorten it.";
    assert_eq!(client.read_text().await, text);
    client.send_text("/sim text=\"still here\"").await;
    client.expect("still here").await;
    assert_eq!(gateway.upstream().recorded().len(), 1, "nothing bad went to the model");
    client.close().await;
    gateway.stop().await;
}

// faults: A13
#[tokio::test]
async fn a_message_sent_while_an_answer_runs_waits_its_turn() {
    let upstream = ScriptedUpstream::bind().await;
    let gateway =
        Gateway::in_front_of(upstream.address, |config| config.session.queued_messages_max = 1).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("one").await;
    let mut connection = upstream.accept().await;
    connection.request().await;
    client.send_text("two").await;
    client.send_text("three").await;
    let refused = "Error: 1 messages are waiting already. Wait for an answer first.";
    assert_eq!(client.read_text().await, refused);
    connection.send(sse_head()).await;
    connection.delta("1").await;
    connection.finish().await;
    client.expect("1").await;
    // The connection went back to the pool and is used again.
    let (_, body) = connection.request().await;
    assert!(body.contains("\"two\"") && !body.contains("three"), "{body}");
    connection.send(sse_head()).await;
    connection.delta("2").await;
    connection.finish().await;
    client.expect("2").await;
    client.close().await;
    gateway.stop().await;
}

// faults: A8
#[tokio::test]
async fn a_frame_that_claims_too_much_is_refused_at_its_header() {
    let gateway = Gateway::spawn(|_| {}).await;
    for (length, code) in [(131_073, 1009u16), (2 << 30, 1009), ((1 << 63) - 1, 1009), (u64::MAX, 1002)] {
        let mut client = RawClient::upgrade(gateway.address).await;
        client.write(&frame_head(0x81, length)).await;
        let (first, payload) = client.read_frame().await;
        assert_eq!((first, &payload[..2]), (0x88, &code.to_be_bytes()[..]), "{length}");
        // It goes on sending; what comes is thrown away, and then the socket is closed.
        let _ = client.stream.try_write(&[0; 64 * 1024]);
        client.read_to_end(PATIENCE).await;
    }
    gateway.stop().await;
}

// faults: A6, A7, A9, A25, A26
#[tokio::test]
async fn fragments_are_joined_and_control_frames_between_them_are_answered() {
    let gateway = Gateway::spawn(|_| {}).await;
    let mut client = RawClient::upgrade(gateway.address).await;
    let mut bytes = frame(0x01, b"/sim tex");
    bytes.extend(frame(0x89, b"ping"));
    bytes.extend(frame(0x00, b"t=jo"));
    bytes.extend(frame(0x8a, b"stray pong"));
    bytes.extend(frame(0x80, b"ined"));
    client.write(&bytes).await;
    assert_eq!(client.read_frame().await, (0x8a, b"ping".to_vec()));
    let mut received = Vec::new();
    while received != b"joined" {
        let (first, payload) = client.read_frame().await;
        assert_eq!(first, 0x81);
        received.extend(payload);
    }
    // Our close is answered with its code, what comes after it is ignored, and the socket ends.
    let mut bytes = frame(0x88, &4321u16.to_be_bytes());
    bytes.extend(frame(0x81, b"late"));
    client.write(&bytes).await;
    assert_eq!(client.read_to_end(PATIENCE).await, [0x88, 2, 0x10, 0xe1]);
    for (bytes, code) in [
        (frame(0x81, b"\xff"), 1007u16),
        (frame(0xc1, b"x"), 1002),
        (frame(0x80, b"x"), 1002),
        ([frame(0x01, &[b'x'; 131_000]), frame(0x80, &[b'x'; 73])].concat(), 1009),
    ] {
        let mut client = RawClient::upgrade(gateway.address).await;
        client.write(&bytes).await;
        let (first, payload) = client.read_frame().await;
        assert_eq!((first, &payload[..2]), (0x88, &code.to_be_bytes()[..]));
    }
    gateway.stop().await;
}

// faults: A14, A19, E85
#[tokio::test]
async fn closing_the_socket_closes_the_upstream_at_once_even_when_it_is_silent() {
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(upstream.address, |_| {}).await;
    for (way, before_head) in [("close", false), ("reset", false), ("fin", false), ("reset", true)] {
        let mut client = RawClient::upgrade(gateway.address).await;
        client.write(&frame(0x81, b"hi")).await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        if !before_head {
            connection.send(sse_head()).await;
            connection.delta("He").await;
            assert_eq!(client.read_frame().await, (0x81, b"He".to_vec()));
        }
        match way {
            "close" => client.write(&frame(0x88, &1000u16.to_be_bytes())).await,
            "reset" => {
                socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
                drop(client);
            }
            _ => drop(client),
        }
        let took = connection.closed().await;
        assert!(took.is_in(..SOON), "{way}: {took:?}");
    }
    gateway.stop().await;
}

// faults: A17
#[tokio::test]
async fn a_reader_that_stops_is_bounded_and_cut_and_its_upstream_closed() {
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(upstream.address, |config| {
        config.connection.write_timeout = Duration::from_secs(1);
    })
    .await;
    let mut client = RawClient::upgrade(gateway.address).await;
    client.write(&frame(0x81, b"go")).await;
    let mut connection = upstream.accept().await;
    connection.request().await;
    connection.send(sse_head()).await;
    // It never reads. The upstream writes until nothing is accepted any more.
    let text = "x".repeat(1_000);
    let mut sent = 0usize;
    let watch = Stopwatch::start();
    let cut = loop {
        match within("it is cut, not left hanging", PATIENCE, connection.try_delta(&text)).await {
            Ok(()) => sent += text.len(),
            Err(_) => break watch.took(),
        }
    };
    assert!(cut.is_in(Duration::from_millis(900)..Duration::from_secs(5)), "cut after {cut:?}");
    // Kernel buffers of both legs, the replay log's bound and one read: nothing like "without end".
    assert!(sent < 16 << 20, "{sent} bytes were taken for a reader that does not read");
    until("the socket is gone", async || gateway.is_idle()).await;
    assert_eq!(gateway.app_state.metrics.connections_closed.get("slow"), 1);
    drop(client);
    gateway.stop().await;
}

// faults: A18
#[tokio::test]
async fn a_slow_reader_gets_every_byte_in_fewer_larger_deltas() {
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_of(upstream.address, |_| {}).await;
    let mut client = RawClient::upgrade(gateway.address).await;
    socket2::SockRef::from(&client.stream).set_recv_buffer_size(32 * 1024).unwrap();
    client.write(&frame(0x81, b"go")).await;
    let mut connection = upstream.accept().await;
    connection.request().await;
    let pieces: Vec<String> = (0..6_000).map(|n| format!("{n} {} ", "é".repeat(60))).collect();
    let expected = pieces.concat();
    let writer = tokio::spawn(async move {
        connection.send(sse_head()).await;
        for piece in &pieces {
            connection.delta(piece).await;
        }
        connection.finish().await;
        pieces.len()
    });
    let (mut received, mut frames) = (Vec::new(), 0);
    while received.len() < expected.len() {
        let (first, payload) = client.read_frame().await;
        assert_eq!(first, 0x81);
        assert!(std::str::from_utf8(&payload).is_ok(), "whole characters");
        received.extend(payload);
        frames += 1;
        if frames % 8 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await; // It is slow.
        }
    }
    assert!(received == expected.as_bytes(), "every byte, in order");
    let deltas = within("the upstream has written", PATIENCE, writer).await.unwrap();
    assert!(frames < deltas, "{frames} frames for {deltas} deltas");
    drop(client);
    gateway.stop().await;
}

// faults: A1
#[tokio::test]
async fn what_is_no_handshake_gets_a_status_and_no_actor() {
    let gateway = Gateway::spawn(|_| {}).await;
    let good = handshake(gateway.address, &[]);
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let cases = [
        (good.replace("GET", "POST"), "405"),
        (good.replace("GET", "PUT"), "405"),
        (good.replace("GET", "OPTIONS"), "405"),
        (good.replace("HTTP/1.1", "HTTP/1.0"), "400"),
        (good.replace("connection: upgrade\r\n", ""), "400"),
        (good.replace("connection: upgrade", "connection: keep-alive"), "400"),
        (handshake(gateway.address, &[("upgrade", "websocket")]), "400"),
        (good.replace(key, ""), "400"),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", ""), "400"),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZSE="), "400"),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBs-SBub25jZQ=="), "400"),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "\u{7f}GhlIHNhbXBsZSBub25jZQ=="), "400"),
        (good.replace("version: 13", "version: 13, 8"), "426"),
        (good.replace("version: 13", "version: 013"), "426"),
        (handshake(gateway.address, &[("sec-websocket-version", "13")]), "426"),
        (good.replace("upgrade: websocket\r\n", ""), "426"),
        (good.replace("upgrade: websocket", "upgrade: websocket, h2c"), "400"),
        (good.replace("upgrade: websocket", "upgrade: xwebsocketx"), "400"),
        (good.replace("upgrade: websocket", "upgrade: h2c"), "400"),
        (good.replace("version: 13", "version: 8"), "426"),
        (good.replace("version: 13", "version: 14"), "426"),
        (good.replace("sec-websocket-version: 13\r\n", ""), "426"),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), "400"),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"), "400"),
        (handshake(gateway.address, &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]), "400"),
        (handshake(gateway.address, &[("origin", "http://evil.test")]), "403"),
        (handshake(gateway.address, &[("origin", "null")]), "403"),
        (good.replace("/chat", "/nothing"), "404"),
    ];
    for (request, status) in cases {
        let mut client = RawClient::connect(gateway.address).await;
        let answer = client.request(&request).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request}\n{answer}");
        if status == "426" {
            assert!(answer.to_lowercase().contains("sec-websocket-version: 13\r\n"), "{answer}");
        }
    }
    assert_eq!(gateway.app_state.metrics.connections_opened.get(), 0, "no actor was made");
    let own = format!("http://{}", gateway.address);
    let mut client = RawClient::connect(gateway.address).await;
    let answer = client.request(&handshake(gateway.address, &[("origin", &own)])).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(!answer.to_lowercase().contains("sec-websocket-extensions"), "{answer}");
    drop(client);
    gateway.stop().await;
}

// faults: G99, G107
#[tokio::test]
async fn a_drain_rejects_new_sockets_lets_answers_finish_and_closes_with_1012() {
    let upstream = ScriptedUpstream::bind().await;
    let mut gateway = Gateway::in_front_of(upstream.address, |_| {}).await;
    let mut idle = TestClient::connect(&gateway.chat_url()).await;
    let mut busy = TestClient::connect(&gateway.chat_url()).await;
    busy.send_text("hi").await;
    let mut connection = upstream.accept().await;
    connection.request().await;
    connection.send(sse_head()).await;
    connection.delta("He").await;
    busy.expect("He").await;
    assert_eq!(gateway.get("/readyz").await.0, 200);
    let ended = gateway.begin_drain();
    until("unready", async || gateway.get("/readyz").await.0 == 503).await;
    assert_eq!(gateway.get("/livez").await.0, 200);
    let mut late = RawClient::connect(gateway.address).await;
    let answer = late.request(&handshake(gateway.address, &[])).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
    assert_eq!(idle.closed().await, 1012);
    busy.send_text("one more").await;
    assert_eq!(busy.read_text().await, "Error: The service is restarting. Reconnect and send it again.");
    connection.delta("llo").await;
    connection.finish().await;
    busy.expect("llo").await;
    assert_eq!(busy.closed().await, 1012);
    drop((idle, busy));
    let ended = within("the drain", PATIENCE, ended).await.unwrap();
    assert_eq!(ended, tidegate::app::Ended::Drained);
}

#[tokio::test]
async fn when_the_grace_is_over_the_rest_is_closed_with_1012_too() {
    let upstream = ScriptedUpstream::bind().await;
    let mut gateway = Gateway::in_front_of(upstream.address, |config| {
        config.server.drain_timeout = Duration::from_secs(1);
    })
    .await;
    let mut busy = TestClient::connect(&gateway.chat_url()).await;
    busy.send_text("hi").await;
    let mut connection = upstream.accept().await;
    connection.request().await;
    let ended = gateway.begin_drain();
    assert_eq!(busy.closed().await, 1012);
    connection.closed().await;
    drop(busy);
    let ended = within("the drain", PATIENCE, ended).await.unwrap();
    assert_eq!(ended, tidegate::app::Ended::GraceOver(1));
}

// faults: A5
#[tokio::test]
async fn a_silent_peer_is_pinged_and_then_closed() {
    on_a_steady_machine(async || {
        let gateway = Gateway::spawn(|config| {
            config.connection.ping_interval = Duration::from_millis(200);
            config.connection.idle_timeout = Duration::from_millis(700);
        })
        .await;
        let mut silent = RawClient::upgrade(gateway.address).await;
        let mut pings = 0;
        let payload = loop {
            match silent.read_frame().await {
                (0x89, _) => pings += 1,
                (0x88, payload) => break payload,
                other => panic!("unexpected frame {other:?}"),
            }
        };
        assert!(pings >= 2, "{pings} pings");
        assert_eq!(payload[..2], 1008u16.to_be_bytes());
        gateway.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_thousand_others_at_the_same_moment() {
    let gateway = Gateway::spawn(|_| {}).await;
    let clients = (0..200).map(async |n| {
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        for turn in 0..5 {
            let text = format!("answer {turn} of {n}");
            client.send_text(&format!("/sim text=\"{text}\" pace_ms=1")).await;
            client.expect(&text).await;
        }
        client.close().await;
    });
    futures_util::future::join_all(clients).await;
    gateway.stop().await;
}
