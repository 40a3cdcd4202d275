//! Malicious clients against a real process: what they send costs them their socket and affects no other
//! client.
use crate::harness::{
    PATIENCE, Process, RawClient, SOON, Stopwatch, TestClient, Took, frame, frame_head, until, within,
};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const MIB: u64 = 1 << 20;

/// A gateway in front of a simulator.
async fn serve(more: &[&str]) -> (Process, Process) {
    let simulator = Process::simulate().await;
    let mut args = vec!["--set", "server.workers=2"];
    args.extend(more);
    let gateway = Process::serve(&simulator, "sk-test", &args).await;
    (simulator, gateway)
}

/// Everybody is gone, then both stop in order.
async fn stop(simulator: Process, gateway: Process) {
    until("nothing is left", async || gateway.is_idle().await).await;
    gateway.stop().await;
    simulator.stop().await;
}

/// Sends the bytes over and over, up to a bound, while it waits for the close; its code, how long it
/// took, and how many bytes the gateway's kernel took.
async fn push(client: RawClient, first: &[u8], then: &[u8], at_most: usize) -> (u16, Took, usize) {
    let RawClient { stream } = client;
    let (read, mut write) = stream.into_split();
    let first = first.to_vec();
    let then = then.to_vec();
    let watch = Stopwatch::start();
    let pusher = tokio::spawn(async move {
        let mut sent = 0;
        let _ = write.write_all(&first).await;
        while sent < at_most && write.write_all(&then).await.is_ok() {
            sent += then.len();
        }
        (write, sent) // Dropped by the test, so that the gateway is the one that closes.
    });
    let (code, took) = within("a close frame", PATIENCE, close_code(read, watch)).await;
    let (_write, sent) = within("the socket is closed", PATIENCE, pusher).await.unwrap();
    (code, took, sent)
}

/// Reads to the close frame, over whatever comes before it.
async fn close_code(mut read: tokio::net::tcp::OwnedReadHalf, watch: Stopwatch) -> (u16, Took) {
    use tokio::io::AsyncReadExt;
    loop {
        let first = read.read_u8().await.unwrap();
        let length = match read.read_u8().await.unwrap() {
            126 => usize::from(read.read_u16().await.unwrap()),
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        read.read_exact(&mut payload).await.unwrap();
        if first == 0x88 {
            return (u16::from_be_bytes([payload[0], payload[1]]), watch.took());
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

// faults: A8, A9
#[tokio::test]
async fn what_claims_or_sends_too_much_costs_no_memory() {
    let (simulator, gateway) = serve(&[]).await;
    let garbage = vec![0x55; 256 << 10];
    let ones = [frame(0x01, b"x"), frame(0x00, b"x").repeat(1_000)].concat();
    let mut large = frame_head(0x01, 100 << 10);
    large.resize(large.len() + (100 << 10), b' ');
    let mut more = frame_head(0x00, 20 << 10);
    more.resize(more.len() + (20 << 10), b' ');
    let cases: [(&str, u16, Vec<u8>, Vec<u8>); 7] = [
        ("one more than the limit", 1009, frame_head(0x81, 131_073), garbage.clone()),
        ("2 GiB", 1009, frame_head(0x81, 2 << 30), garbage.clone()),
        ("2^63-1", 1009, frame_head(0x82, (1 << 63) - 1), garbage.clone()),
        ("2^64-1", 1002, frame_head(0x81, u64::MAX), garbage.clone()),
        ("a million fragments of a byte", 1009, ones, frame(0x00, b"x").repeat(1_000)),
        ("a million fragments of nothing", 1009, frame(0x01, b""), frame(0x00, b"").repeat(1_000)),
        ("a message that never ends", 1009, large, more),
    ];
    // Once before anything is counted, so that code and buffers of the threads are there.
    for (_, _, first, then) in &cases {
        push(RawClient::upgrade(gateway.address).await, first, then, 64 << 20).await;
    }
    for (name, code, first, then) in &cases {
        let before = gateway.memory();
        gateway.forget_memory_peak();
        let mut times = Vec::new();
        for _ in 0..5 {
            let client = RawClient::upgrade(gateway.address).await;
            let (got, took, sent) = push(client, first, then, 64 << 20).await;
            assert_eq!(got, *code, "{name}");
            assert!(sent < 64 << 20, "{name}: the pusher was stopped");
            times.push(took.net());
        }
        let grown = gateway.memory_peak().saturating_sub(before);
        println!("{name}: {:?}, memory {grown} B", median(times.clone()));
        assert!(grown <= MIB, "{name}: {grown} bytes more");
        assert!(median(times.clone()) < SOON, "{name}: {times:?}");
    }
    stop(simulator, gateway).await;
}

// faults: A9, K143
#[tokio::test]
async fn a_message_that_trickles_for_ever_is_closed() {
    let keys = ["--set", "connection.message_timeout=1s", "--set", "connection.message_rate_min=1000000000"];
    let (simulator, gateway) = serve(&keys).await;
    let mut client = RawClient::upgrade(gateway.address).await;
    client.write(&frame_head(0x81, 100 << 10)).await;
    let RawClient { stream } = client;
    let (read, mut write) = stream.into_split();
    let trickle = tokio::spawn(async move {
        while write.write_all(b"\x01").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (code, took) = within("it is closed", PATIENCE, close_code(read, Stopwatch::start())).await;
    assert_eq!(code, 1008);
    assert!(took.is_in(..Duration::from_secs(5)), "{took:?}");
    within("the socket is closed", PATIENCE, trickle).await.unwrap();
    stop(simulator, gateway).await;
}

/// Sends frames at this rate, in a batch every 10 ms, until the close; returns its code and when it came.
async fn flood(gateway: &Process, frame: Vec<u8>, per_second: usize) -> (u16, Took) {
    let RawClient { stream } = RawClient::upgrade(gateway.address).await;
    let (read, mut write) = stream.into_split();
    let bunch = frame.repeat(per_second / 100);
    let watch = Stopwatch::start();
    let flood = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        while write.write_all(&bunch).await.is_ok() {
            pace.tick().await;
        }
    });
    let closed = within("a flood is closed", PATIENCE, close_code(read, watch)).await;
    within("its socket is closed", PATIENCE, flood).await.unwrap();
    closed
}

// faults: A16
#[tokio::test]
async fn a_flood_of_frames_is_closed_within_a_second_and_harms_no_other_client() {
    let (simulator, gateway) = serve(&[]).await;
    let mut healthy = TestClient::connect(&gateway.chat_url()).await;
    healthy.send_text("/sim number tokens=120 word_len=4 seed=1 pace_ms=20").await;
    let many = [frame(0x01, b"a"), frame(0x00, b"b").repeat(98), frame(0x80, b"c")].concat();
    let cases = [
        ("pings", frame(0x89, b"x"), 10_000),
        ("pongs", frame(0x8a, b""), 10_000),
        ("messages", frame(0x81, b"/sim text=x"), 1_000),
        ("messages that are refused", frame(0x82, b"x"), 1_000),
        ("messages of a hundred fragments", many, 100),
    ];
    for (name, frame, per_second) in cases {
        let (code, took) = flood(&gateway, frame, per_second).await;
        println!("{name}: {took:?}");
        assert_eq!(code, 4429, "{name}");
        assert!(took.is_in(..SOON), "{name}: {took:?}");
    }
    let counted = r#"tidegate_connections_closed_total{reason="too_many_frames"}"#;
    until("they are counted", async || gateway.metric(counted).await == 5).await;
    assert!(gateway.log().contains("reason=too_many_frames "), "{}", gateway.log());
    let mut received = String::new();
    while !received.contains("#119 ") {
        received.push_str(&healthy.read_text().await);
    }
    let numbers: Vec<_> = received.split('#').skip(1).filter_map(|rest| rest.split(' ').next()).collect();
    assert_eq!(numbers, (0..120).map(|n| n.to_string()).collect::<Vec<_>>(), "whole and in order");
    healthy.close().await;
    stop(simulator, gateway).await;
}

/// A person in a hurry, and a client that cuts its messages, are no flood.
#[tokio::test]
async fn a_paste_and_a_message_in_many_fragments_are_no_flood() {
    let (simulator, gateway) = serve(&[]).await;
    let mut client = RawClient::upgrade(gateway.address).await;
    let text = format!("/sim text=\"{}\"", "x".repeat(1_000));
    let bytes = text.as_bytes();
    let mut fragments = frame(0x01, &bytes[..1]);
    for byte in &bytes[1..bytes.len() - 1] {
        fragments.extend(frame(0x00, &[*byte]));
    }
    fragments.extend(frame(0x80, &bytes[bytes.len() - 1..]));
    client.write(&fragments).await;
    let mut received = 0;
    while received < 1_000 {
        let (first, payload) = client.read_frame().await;
        assert_eq!(first, 0x81);
        received += payload.len();
    }
    let mut hasty = TestClient::connect(&gateway.chat_url()).await;
    for _ in 0..30 {
        hasty.send_text("/sim text=y first_ms=300").await;
    }
    let (mut refused, mut answered) = (0, 0);
    while refused + answered < 30 {
        match hasty.read_text().await.as_str() {
            "y" => answered += 1,
            error => {
                assert_eq!(error, "Error: 8 messages are waiting already. Wait for an answer first.");
                refused += 1;
            }
        }
    }
    assert_eq!((refused, answered), (21, 9));
    hasty.close().await;
    drop(client);
    stop(simulator, gateway).await;
}
