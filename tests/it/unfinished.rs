//! Messages that a client begins and does not finish.
use crate::harness::{Gateway, RawClient, Stopwatch, Took, frame, frame_head, on_a_steady_machine, within};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::time::sleep;

const STEP: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(1);

/// Sends `first`, then `next` every 100 ms until the gateway closes; the close frame's payload and when
/// it came.
async fn until_closed(gateway: &Gateway, first: &[u8], next: &[u8]) -> (Vec<u8>, Took) {
    let mut client = RawClient::upgrade(gateway.address).await;
    client.write(first).await;
    let watch = Stopwatch::start();
    let closed = async {
        loop {
            tokio::select! {
                frame = client.read_beyond_pings() => return frame,
                () = sleep(STEP) => {}
            }
            // It may have been closed just then.
            let _ = client.try_write(next).await;
        }
    };
    let (opcode, payload) = within("it is closed", 5 * DEADLINE, closed).await;
    assert_eq!(opcode, 0x88);
    (payload, watch.took())
}

fn assert_unfinished(name: &str, (payload, after): (Vec<u8>, Took)) {
    assert_eq!(payload, b"\x03\xf0message not finished in time", "{name}");
    // The first byte may have been read a tick before this clock began.
    assert!(after.is_in(DEADLINE - STEP..2 * DEADLINE), "{name}: {after:?}");
}

// faults: K143
#[tokio::test]
async fn a_stalled_message_is_closed_even_if_other_frames_arrive() {
    on_a_steady_machine(async || {
        let gateway = Gateway::spawn(|config| {
            config.connection.message_idle_timeout = DEADLINE;
            config.connection.frames_per_second_max = 0;
        })
        .await;
        let half = frame(0x81, b"a whole message");
        let cases = [
            ("one byte of a header", half[..1].to_vec(), vec![]),
            ("a header without its mask", half[..3].to_vec(), vec![]),
            ("half a frame", half[..12].to_vec(), vec![]),
            ("half a pong", frame(0x8a, b"pong")[..7].to_vec(), vec![]),
            ("pongs between fragments", frame(0x01, b"a fragment"), frame(0x8a, b"")),
            ("empty fragments", frame(0x01, b"a fragment"), frame(0x00, b"")),
        ];
        let closed = cases.iter().map(|(_, first, next)| until_closed(&gateway, first, next));
        for ((name, ..), closed) in cases.iter().zip(join_all(closed).await) {
            assert_unfinished(name, closed);
        }
        let (_, metrics) = gateway.get("/metrics").await;
        assert!(
            metrics.contains("tidegate_connections_closed_total{reason=\"unfinished\"} 6\n"),
            "{metrics}"
        );
        gateway.stop().await;
    })
    .await;
}

// faults: K143
#[tokio::test]
async fn a_message_that_trickles_is_closed_when_its_time_is_over() {
    let gateway = Gateway::spawn(|config| {
        config.connection.message_timeout = DEADLINE;
        config.connection.message_rate_min = 1_000_000_000;
        config.connection.frames_per_second_max = 0;
    })
    .await;
    let mut in_a_frame = frame_head(0x81, 100_000);
    in_a_frame.push(b'x');
    let cases = [
        ("a byte at a time", in_a_frame, b"x".to_vec()),
        ("a fragment at a time", frame(0x01, b"x"), frame(0x00, b"x")),
    ];
    let closed = cases.iter().map(|(_, first, next)| until_closed(&gateway, first, next));
    for ((name, ..), closed) in cases.iter().zip(join_all(closed).await) {
        assert_unfinished(name, closed);
    }
    gateway.stop().await;
}

// faults: K143
#[tokio::test]
async fn a_slow_upload_has_the_time_of_its_length_and_is_not_silent() {
    on_a_steady_machine(async || {
        const BYTES: usize = 4096;
        let gateway = Gateway::spawn(|config| {
            config.connection.message_idle_timeout = DEADLINE;
            config.connection.message_timeout = DEADLINE;
            config.connection.message_rate_min = 1024;
            // Inside a frame a client can answer no ping.
            config.connection.ping_interval = STEP;
            config.connection.idle_timeout = DEADLINE;
        })
        .await;
        let mut client = RawClient::upgrade(gateway.address).await;
        let text = frame(0x81, &[b'x'; BYTES]);
        let watch = Stopwatch::start();
        for piece in text.chunks(text.len().div_ceil(25)) {
            client.write(piece).await;
            sleep(STEP).await;
        }
        assert!(watch.took().is_in(2 * DEADLINE..));
        let (opcode, answer) = client.read_beyond_pings().await;
        assert_eq!(opcode, 0x81, "{}", String::from_utf8_lossy(&answer));
        // And the next one has its own time.
        client.write(&frame(0x81, b"again")).await;
        drop(client);
        gateway.stop().await;
    })
    .await;
}
