//! RFC 6455 on the wire: frames that break it, closes of every kind, and an echo on the socket room alone.
use crate::harness::{
    Gateway, PATIENCE, Process, RawClient, Stopwatch, TestClient, Tidegate, echo, frame, frame_head,
    handshake, on_a_steady_machine, until, within,
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};
use tokio_tungstenite::tungstenite::Message;

/// A close frame of the gateway with this code, and the whole of it read: nothing else comes.
async fn expect_close(client: &mut RawClient, what: &str, code: u16) {
    let (first, payload) = client.read_frame().await;
    assert_eq!(first, 0x88, "{what}");
    assert_eq!(u16::from_be_bytes([payload[0], payload[1]]), code, "{what}");
    assert!(client.read_to_end(PATIENCE).await.is_empty(), "{what}: nothing follows a close");
}

// faults: A6
#[tokio::test]
async fn what_breaks_the_protocol_ends_with_1002_at_the_byte_that_does() {
    let gateway = Gateway::spawn(|_| {}).await;
    // No more is sent than what breaks it, so that waiting for more would be waiting for ever.
    let open_message = frame(0x01, b"a");
    let cases: [(&str, &[u8], &[u8]); 14] = [
        ("reserved bit 1", b"", &[0xc1]),
        ("reserved bit 2", b"", &[0xa1]),
        ("reserved bit 3", b"", &[0x91]),
        ("reserved bit in a control frame", b"", &[0xc9]),
        ("unknown opcode 3", b"", &[0x83]),
        ("unknown opcode 7", b"", &[0x87]),
        ("unknown control opcode 11", b"", &[0x8b]),
        ("unknown control opcode 15", b"", &[0x8f]),
        ("unmasked", b"", &[0x81, 0x01]),
        ("fragmented ping", b"", &[0x09]),
        ("fragmented close", b"", &[0x08]),
        ("ping of 126", b"", &[0x89, 0xfe]),
        ("continuation of nothing", b"", &[0x80]),
        ("a second text inside a message", &open_message, &[0x81]),
    ];
    for (what, before, broken) in cases {
        let mut client = RawClient::upgrade(gateway.address).await;
        client.write(before).await;
        client.write(broken).await;
        expect_close(&mut client, what, 1002).await;
    }
    assert!(gateway.upstream().recorded().is_empty(), "nothing of it went to the model");
    gateway.stop().await;
}

// faults: A7
#[tokio::test]
async fn text_that_is_not_utf8_ends_with_1007_and_is_never_delivered() {
    let gateway = Gateway::spawn(|_| {}).await;
    let unfinished = [frame_head(0x81, 100), vec![b'a' ^ 1, 0xff ^ 2]].concat();
    let cases = [
        ("in one frame", frame(0x81, b"/sim text=\xc0\xaf")),
        ("a surrogate", frame(0x81, b"/sim text=\xed\xa0\x80")),
        ("beyond Unicode", frame(0x81, b"/sim text=\xf4\x90\x80\x80")),
        ("cut by the end", frame(0x81, b"/sim text=\xe2\x82")),
        ("over fragments", [frame(0x01, b"/sim text=\xe2"), frame(0x00, b""), frame(0x80, b"x")].concat()),
        ("in a frame whose rest never comes", unfinished),
    ];
    for (what, bytes) in cases {
        let mut client = RawClient::upgrade(gateway.address).await;
        // Each byte in a segment of its own.
        for byte in bytes {
            client.write(&[byte]).await;
        }
        expect_close(&mut client, what, 1007).await;
    }
    assert!(gateway.upstream().recorded().is_empty(), "nothing of it went to the model");
    // What is cut inside its characters, by fragments and by segments, is fine.
    let mut client = RawClient::upgrade(gateway.address).await;
    let message = "/sim text=\"κόσμε 😀\"".as_bytes();
    let bytes: Vec<_> =
        message.iter().enumerate().flat_map(|(at, byte)| frame(u8::from(at == 0), &[*byte])).collect();
    for byte in bytes.iter().chain(&frame(0x80, b"")) {
        client.write(&[*byte]).await;
    }
    let mut received = Vec::new();
    while received.len() < "κόσμε 😀".len() {
        let (first, payload) = client.read_frame().await;
        assert_eq!(first, 0x81);
        received.extend(payload);
    }
    assert_eq!(String::from_utf8(received).unwrap(), "κόσμε 😀");
    drop(client);
    gateway.stop().await;
}

// faults: A9
#[tokio::test]
async fn endless_messages_end_with_1009_at_their_bound() {
    let gateway = Gateway::spawn(|_| {}).await;
    for (what, fragment) in [("fragments of one byte", 1), ("fragments of 4,000 bytes", 4_000)] {
        let client = RawClient::upgrade(gateway.address).await;
        let (mut from, mut to) = client.stream.into_split();
        let writer = tokio::spawn(async move {
            let piece = frame(0x00, &vec![b'x'; fragment]);
            let (first, many) = (frame(0x01, b"x"), piece.repeat((64 * 1024 / piece.len()).max(1)));
            let mut written = first.len();
            to.write_all(&first).await.unwrap();
            while to.write_all(&many).await.is_ok() {
                written += many.len();
            }
            written
        });
        let mut head = [0; 4];
        within("a close", PATIENCE, from.read_exact(&mut head)).await.unwrap();
        assert_eq!((head[0], &head[2..]), (0x88, &1009u16.to_be_bytes()[..]), "{what}");
        // It does not go on being read: what the kernel holds and what a goodbye throws away, no more.
        let written = within("the writer is cut", PATIENCE, writer).await.unwrap();
        assert!(written < 16 << 20, "{what}: {written} bytes were taken");
    }
    assert!(gateway.upstream().recorded().is_empty(), "nothing of it went to the model");
    // As many fragments as may be, and one more.
    let message = format!("/sim text={}", "x".repeat(1_014));
    let fragments = |fin: usize| -> Vec<u8> {
        let first = |at| u8::from(at == 0) | if at == fin { 0x80 } else { 0 };
        message.bytes().enumerate().flat_map(|(at, byte)| frame(first(at), &[byte])).collect()
    };
    let mut client = RawClient::upgrade(gateway.address).await;
    client.write(&fragments(1_023)).await;
    let mut received = 0;
    while received < 1_014 {
        received += client.read_frame().await.1.len();
    }
    client.write(&fragments(usize::MAX)).await;
    client.write(&frame(0x80, b"")).await;
    expect_close(&mut client, "1,025 fragments", 1009).await;
    until("every socket is gone", async || gateway.app_state.lifecycle.sockets() == 0).await;
    gateway.stop().await;
}

/// What a close frame holds.
fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

// faults: A25, A26
#[tokio::test]
async fn every_close_gets_its_answer_and_later_frames_are_ignored() {
    let gateway = Gateway::spawn(|_| {}).await;
    let mut cases = vec![
        (Vec::new(), 1000),
        (close_payload(1000, &[b'r'; 123]), 1000),
        (close_payload(1000, "é".repeat(61).as_bytes()), 1000),
        (close_payload(1000, b"\xe2\x82"), 1007),
        (vec![3], 1002),
    ];
    let good = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999];
    cases.extend(good.map(|code| (close_payload(code, b""), code)));
    let never = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535];
    cases.extend(never.map(|code| (close_payload(code, b""), 1002)));
    for (payload, code) in cases {
        let mut client = RawClient::upgrade(gateway.address).await;
        let late = [frame(0x81, b"/sim text=late"), frame(0x89, b"late"), vec![0xff; 10]].concat();
        client.write(&[frame(0x88, &payload), late].concat()).await;
        expect_close(&mut client, &format!("{payload:?}"), code).await;
    }
    // A reason of 124 bytes makes a control frame that is too long.
    let mut client = RawClient::upgrade(gateway.address).await;
    client.write(&frame(0x88, &close_payload(1000, &[b'r'; 124]))).await;
    expect_close(&mut client, "a long reason", 1002).await;
    assert!(gateway.upstream().recorded().is_empty(), "nothing after a close went to the model");
    gateway.stop().await;
}

// faults: A25
#[tokio::test]
async fn a_close_that_is_answered_late_or_never_holds_nothing_for_long() {
    on_a_steady_machine(async || {
        let gateway = Gateway::spawn(|_| {}).await;
        let gone =
            async || until("the socket is gone", async || gateway.app_state.lifecycle.sockets() == 0).await;
        for answers in [true, false] {
            let mut client = RawClient::upgrade(gateway.address).await;
            client.write(&[0xc1]).await;
            assert_eq!(client.read_frame().await.0, 0x88);
            let watch = Stopwatch::start();
            if answers {
                sleep(Duration::from_millis(200)).await;
                assert_eq!(gateway.app_state.lifecycle.sockets(), 1, "it is given a moment");
                client.write(&frame(0x88, &1002u16.to_be_bytes())).await;
                client.stream.shutdown().await.unwrap();
            }
            gone().await;
            let (took, limit) = (watch.took(), if answers { 900 } else { 1_900 });
            assert!(took.is_in(..Duration::from_millis(limit)), "answers: {answers}, gone after {took:?}");
            assert!(client.read_to_end(PATIENCE).await.is_empty());
        }
        // One that does not answer and floods instead is not listened to for a second.
        let client = RawClient::upgrade(gateway.address).await;
        let (mut from, mut to) = client.stream.into_split();
        to.write_all(&[0xc1]).await.unwrap();
        let flood = async { while to.write_all(&[0; 64 * 1024]).await.is_ok() {} };
        within("the flood is cut", PATIENCE, flood).await;
        let mut received = Vec::new();
        let _ = within("an end", PATIENCE, from.read_to_end(&mut received)).await;
        assert!(received.is_empty() || received[0] == 0x88, "{received:?}");
        gone().await;
        gateway.stop().await;
    })
    .await;
}

// faults: A27
#[tokio::test]
async fn compression_is_declined_however_it_is_offered() {
    let gateway = Gateway::spawn(|_| {}).await;
    let long = format!("permessage-deflate; x={}", "9".repeat(8_000));
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=15; client_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=99",
        "permessage-deflate; client_max_window_bits=\"15\"",
        "permessage-deflate; client_max_window_bits=-1; client_max_window_bits",
        "permessage-deflate; unknown=1; unknown",
        "permessage-deflate; server_no_context_takeover=yes, permessage-deflate",
        "permessage-deflate;;; =,,,",
        "x-webkit-deflate-frame, permessage-bzip2; client_max_compress_level",
        "",
        &long,
    ] {
        let mut client = RawClient::connect(gateway.address).await;
        let request = handshake(gateway.address, &[("sec-websocket-extensions", offer)]);
        let answer = client.request(&request).await.to_lowercase();
        assert!(answer.starts_with("http/1.1 101 "), "{offer}: {answer}");
        assert!(!answer.contains("sec-websocket-extensions"), "{offer}: {answer}");
        client.write(&frame(0x81, b"/sim text=x")).await;
        assert_eq!(client.read_frame().await, (0x81, b"x".to_vec()), "{offer}");
        // The extension was not negotiated.
        client.write(&frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")).await;
        expect_close(&mut client, offer, 1002).await;
    }
    gateway.stop().await;
}

// faults: A4
#[tokio::test]
async fn a_missing_request_times_out_after_five_seconds() {
    let gateway = Gateway::spawn(|_| {}).await;
    let head = handshake(gateway.address, &[]);
    let ends = async |first: &str, drip: bool| {
        let client = RawClient::connect(gateway.address).await;
        let watch = Stopwatch::start();
        let (mut from, mut to) = client.stream.into_split();
        to.write_all(first.as_bytes()).await.unwrap();
        let dripping = async {
            // What comes after `first`: never what is no request.
            for byte in &head.as_bytes()[first.len()..] {
                sleep(Duration::from_secs(1)).await;
                if !drip || to.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let mut answer = String::new();
        let ended = async { within("an end", PATIENCE, from.read_to_string(&mut answer)).await };
        tokio::select! {
            _ = ended => {}
            () = dripping => {}
        }
        let took = watch.took();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(took.is_in(Duration::from_secs(3)..Duration::from_secs(8)), "{first:?}: {took:?}");
    };
    let unfinished = head.trim_end();
    tokio::join!(ends("", false), ends("", true), ends("GET /ch", true), ends(unfinished, false));
    gateway.stop().await;
}

/// The socket room needs nothing of the chat: what the conformance suite talks to stands on it alone.
#[tokio::test]
async fn an_echo_on_the_socket_room_alone_returns_everything() {
    let address = echo();
    let mut client = TestClient::connect(&format!("ws://{address}/chat")).await;
    let many: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    for message in [
        Message::text(""),
        Message::text("/sim text=\"no simulated answer\"\n"),
        Message::binary(vec![0, 0xff]),
        Message::binary(many),
        Message::text("é".repeat(1_000_000)),
    ] {
        client.send(message.clone()).await;
        assert!(client.next().await == message, "as it came");
    }
    client.close().await;
}

#[tokio::test]
async fn nothing_of_the_product_echoes() {
    let simulator = Process::simulate().await;
    let request = handshake(simulator.address, &[]);
    let answer = RawClient::connect(simulator.address).await.request(&request).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let gateway = Process::serve(&simulator, "sk-test", &[]).await;
    let demo = Tidegate::new(&["demo", "--listen", "127.0.0.1:0"]).start().await;
    for gateway in [gateway, demo] {
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send(Message::binary(vec![1, 2, 3])).await;
        assert_eq!(client.read_text().await, "Error: Binary messages are not understood. Send text.");
        client.close().await;
        gateway.stop().await;
    }
    for command in ["serve", "demo", "check", "simulate"] {
        let ended = Tidegate::new(&[command, "--conformance-echo"]).run().await;
        assert_eq!(ended.code, Some(64), "{command}: {}", ended.err);
    }
    simulator.stop().await;
}
