//! Readers that are slow or have stopped, against a real process: what is held for one is bounded, it
//! is cut when it stands still and not when it is slow.
use crate::harness::{
    Gateway, Over, PATIENCE, Process, RawClient, ScriptedUpstream, Stopwatch, Tidegate, allow_descriptors,
    event, frame, on_a_steady_machine, read_request, sse_head, until, within,
};
use futures_util::{StreamExt, stream};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, interval},
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Readers that have stopped.
const STALLED: usize = 1_000;
/// `connection.write_timeout` of the test; a check late at most, as in `socket::stall`.
const SLOW_CLIENT: Duration = Duration::from_secs(3);

/// Answers without end, as fast as they are taken. It says so in large pieces, so that what is
/// measured is memory and not the time that a build without optimization takes.
async fn endless_upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let piece = event(&"x".repeat(8 << 10), "null");
    let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let chunk = chunk.clone();
            tokio::spawn(async move {
                read_request(&mut stream).await.unwrap();
                stream.write_all(sse_head().as_bytes()).await.unwrap();
                while stream.write_all(chunk.as_bytes()).await.is_ok() {}
            });
        }
    });
    address
}

/// All that is held for sockets: what the process has grown by, and the kernel's send queues.
async fn held(gateway: &Process, before: u64) -> (u64, u64) {
    let queues = gateway.kernel_sockets().await.iter().map(|socket| socket.send_memory).sum();
    (gateway.memory().saturating_sub(before), queues)
}

// faults: A17
#[tokio::test]
async fn a_thousand_readers_that_stop_hold_little_and_are_gone_soon() {
    allow_descriptors(STALLED as u64 + 256);
    let upstream = endless_upstream().await;
    let slow_client = format!("connection.write_timeout={}s", SLOW_CLIENT.as_secs());
    let base_url = format!("http://{upstream}/api/v1");
    let args = ["serve", "--listen", "127.0.0.1:0", "--base-url", &base_url, "--set", &slow_client];
    let gateway = Tidegate::new(&args).env("API_KEY", "sk-test").start().await;
    // Code and buffers of the threads are there before anything is counted.
    let mut first = RawClient::upgrade(gateway.address).await;
    first.write(&frame(0x81, b"first")).await;
    assert_eq!(first.read_frame().await.0, 0x81);
    drop(first);
    until("it is idle", async || gateway.is_idle().await).await;
    let (before, descriptors) = (gateway.memory(), gateway.descriptors());
    let watch = Stopwatch::start();
    let clients: Vec<_> = stream::iter(0..STALLED)
        .map(async |_| {
            let mut client = RawClient::upgrade_narrow(gateway.address).await;
            client.write(&frame(0x81, b"go")).await;
            client
        })
        .buffer_unordered(32)
        .collect()
        .await;
    println!("asked after {:?}", watch.took());
    let (mut most, mut most_queued) = (0, 0);
    let cut = r#"tidegate_connections_closed_total{reason="slow"}"#;
    let mut last = Stopwatch::start();
    within("all are cut", Duration::from_secs(40), async {
        while gateway.metric(cut).await < STALLED as u64 {
            let (memory, queues) = held(&gateway, before).await;
            if memory + queues > most + most_queued {
                last = Stopwatch::start(); // A buffer was still being filled.
            }
            if memory + queues > most + most_queued {
                (most, most_queued) = (memory, queues);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let gone = last.took();
    let each = (most + most_queued) / STALLED as u64;
    println!(
        "{STALLED} stalled: memory + {} MiB, send queues {} MiB, {} KiB each; gone {gone:?} after the last progress",
        most / MIB,
        most_queued / MIB,
        each / KIB
    );
    assert!(most > 0 && most_queued > 0, "something was held");
    assert!(most <= 400 * MIB, "{most} bytes of memory");
    assert!(each <= 256 * KIB, "{each} bytes for each");
    assert!(gone.is_in(..SLOW_CLIENT * 5 / 4 + Duration::from_secs(3)), "{gone:?}");
    until("nothing is left", async || gateway.is_idle().await).await;
    // What was cut is reset: the kernel keeps no orphans with full queues.
    until("the kernel holds nothing", async || {
        gateway.kernel_sockets().await.iter().map(|socket| socket.send_memory).sum::<u64>() < MIB
    })
    .await;
    until("its descriptors are back", async || gateway.descriptors() <= descriptors + 8).await;
    comes_back(&gateway, before).await;
    drop(clients);
    gateway.stop().await;
}

/// Unused memory goes back to the system.
async fn comes_back(gateway: &Process, before: u64) {
    let back = Stopwatch::start();
    within("memory comes back", Duration::from_secs(30), async {
        while gateway.memory() > before + 16 * MIB {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    eprintln!(
        "memory was back after {:?}: + {} KiB",
        back.took(),
        gateway.memory().saturating_sub(before) / KIB
    );
}

/// Eight times the pace of a reader at 1 KB/s and shorter limits to go with it, that the test may be
/// short. It never says a word, no pong either: it has not come to the pings yet.
// faults: A18
#[tokio::test]
async fn a_reader_at_a_kilobyte_a_second_is_served_whole_and_slows_the_upstream() {
    on_a_steady_machine(async || {
        tokio::join!(slow_reader(Over::Plain, 1_500), slow_reader(Over::Tls, 10_000));
    })
    .await;
}

#[expect(clippy::print_stdout, reason = "figures for a person")]
/// An answer of so many pieces of a kilobyte. Over TLS there are more buffers of the kernel along the way, so it is longer there
/// and not read to its end.
async fn slow_reader(over: Over, pieces: usize) {
    const PER_SECOND: usize = 8 << 10;
    const SLOW: Duration = Duration::from_secs(9);
    let upstream = ScriptedUpstream::bind().await;
    let gateway = Gateway::in_front_over(over, upstream.address, |config| {
        config.connection.write_timeout = Duration::from_secs(3);
        config.connection.ping_interval = Duration::from_secs(2);
        config.connection.idle_timeout = Duration::from_secs(4);
        config.upstream.answer_bytes_max = 16 << 20;
        // So large that the kernel takes nothing for longer than the limit.
        config.connection.send_buffer = 64 << 10;
    })
    .await;
    let mut client = RawClient::upgrade_narrow(gateway.address).await;
    client.write(&frame(0x81, b"go")).await;
    let mut connection = upstream.accept().await;
    connection.narrow();
    connection.request().await;
    let pieces: Vec<String> = (0..pieces).map(|n| format!("{n} {} ", "é".repeat(500))).collect();
    let expected = pieces.concat();
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let writer = tokio::spawn(async move {
        connection.send(sse_head()).await;
        for piece in &pieces {
            connection.delta(piece).await;
            counter.fetch_add(piece.len(), SeqCst);
        }
        connection.finish().await;
        connection
    });
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; PER_SECOND / 10]);
    let mut pace = interval(Duration::from_millis(100));
    let since = Instant::now();
    while since.elapsed() < SLOW {
        pace.tick().await;
        let read = within("it is not cut", PATIENCE, client.stream.read(&mut chunk)).await.unwrap();
        assert!(read > 0, "cut after {:?} and {} bytes", since.elapsed(), bytes.len());
        bytes.extend_from_slice(&chunk[..read]);
    }
    let taken = taken.load(SeqCst);
    println!("{over:?}: {} bytes read, {taken} taken of {} after {SLOW:?}", bytes.len(), expected.len());
    assert!(taken < expected.len() / 2, "{over:?}: {taken} bytes were taken for {} read", bytes.len());
    if over == Over::Tls {
        writer.abort();
        drop(client);
        return gateway.stop().await;
    }
    // Now it hurries, and has missed nothing.
    let mut client = Rest { bytes, client };
    let mut received = Vec::new();
    while received.len() < expected.len() {
        let (first, payload) = client.frame().await;
        match first {
            0x81 => received.extend(payload),
            first => assert_eq!(first, 0x89, "only pings between"),
        }
    }
    assert!(received == expected.as_bytes(), "every byte, in order");
    drop(within("the upstream has written", PATIENCE, writer).await.unwrap());
    drop(client);
    gateway.stop().await;
}

/// Bytes that were read without looking at them, and what comes after them.
struct Rest {
    bytes: Vec<u8>,
    client: RawClient,
}

impl Rest {
    async fn take(&mut self, count: usize) -> Vec<u8> {
        let mut chunk = vec![0; 64 << 10];
        while self.bytes.len() < count {
            let read = within("more", PATIENCE, self.client.stream.read(&mut chunk)).await.unwrap();
            assert!(read > 0, "it was cut");
            self.bytes.extend_from_slice(&chunk[..read]);
        }
        self.bytes.drain(..count).collect()
    }

    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.take(2).await;
        let length = match head[1] {
            126 => {
                let length = self.take(2).await;
                usize::from(u16::from_be_bytes([length[0], length[1]]))
            }
            length => usize::from(length),
        };
        (head[0], self.take(length).await)
    }
}
