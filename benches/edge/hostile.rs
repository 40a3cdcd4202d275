//! Attacks a gateway repeatedly, while another process measures the effect on other clients.
use crate::process::need_descriptors;
use crate::tally::Shared;
use crate::wire::{Target, frame, head, send, text_frame};
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::{interval, sleep, timeout};

/// Maximum bytes that one attack sends.
const PUSH_BYTES_MAX: usize = 64 << 20;
/// Bytes of one write.
const PIECE: usize = 64 << 10;
/// Interval between two bursts of a flood.
const BUNCH: Duration = Duration::from_millis(10);

#[derive(Args)]
pub(crate) struct Settings {
    /// The gateway (ws://HOST:PORT/chat)
    #[arg(long)]
    url: String,
    #[arg(long, value_enum)]
    kind: Kind,
    /// How many at once; without it 8 that push or flood, 50 that read slowly or not at all
    #[arg(long)]
    clients: Option<usize>,
    /// Milliseconds between the end of one attack and the same client's next
    #[arg(long, default_value_t = 100)]
    pause_ms: u64,
    /// Seconds until it ends
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A frame header that claims 2 GiB, and 64 MiB behind it
    Headers,
    /// Fragments of one byte without end
    Fragments,
    /// 10,000 pings a second
    Pings,
    /// 1,000 messages a second
    Frames,
    /// Asks for a long answer and never reads
    Stalled,
    /// Asks for a long answer and reads 1 KB a second
    Slow,
}

pub(crate) async fn run(settings: Settings) -> Result<()> {
    let Settings { kind, seconds, .. } = settings;
    let reads_little = matches!(kind, Kind::Stalled | Kind::Slow);
    let clients = settings.clients.unwrap_or(if reads_little { 50 } else { 8 });
    need_descriptors(clients, None)?;
    let target = Target::parse(&settings.url, "ws")?;
    let (attacks, failed) = (Rc::new(Cell::new(0u64)), Rc::new(Cell::new(0u64)));
    for _ in 0..clients {
        let (target, attacks, failed) = (target.clone(), Rc::clone(&attacks), Rc::clone(&failed));
        spawn_local(async move {
            loop {
                attacks.set(attacks.get() + 1);
                // An attack may end in any way, but it must be able to start.
                failed.set(failed.get() + u64::from(attack(&target, kind).await.is_err()));
                sleep(Duration::from_millis(settings.pause_ms)).await;
            }
        });
    }
    sleep(Duration::from_secs_f64(seconds)).await;
    println!("{clients} clients, {} attacks in {seconds} s, {} not begun", attacks.get(), failed.get());
    Ok(())
}

/// Attacks until the gateway closes the connection.
async fn attack(target: &Target, kind: Kind) -> Result<()> {
    let mut socket = if matches!(kind, Kind::Stalled | Kind::Slow) {
        target.open_narrow().await?
    } else {
        target.open().await?
    };
    let write = Rc::clone(&socket.write);
    let answer = text_frame("/sim tokens=4000 word_len=500 pace_ms=0 first_ms=0 think=0");
    let push = async |first: Vec<u8>, then: Vec<u8>| {
        let mut sent = 0;
        send(&write, &first).await?;
        while sent < PUSH_BYTES_MAX {
            send(&write, &then).await?;
            sent += then.len();
        }
        Ok(())
    };
    let flood = async |bunch: Vec<u8>| -> Result<()> {
        let mut pace = interval(BUNCH);
        loop {
            pace.tick().await;
            send(&write, &bunch).await?;
        }
    };
    let _: Result<()> = match kind {
        Kind::Headers => {
            meanwhile(push(head(0x81, 2 << 30), vec![0; PIECE]), socket.listen(Shared::default())).await
        }
        Kind::Fragments => {
            let then = frame(0x00, b"x").repeat(PIECE / 7);
            meanwhile(push(frame(0x01, b"x"), then), socket.listen(Shared::default())).await
        }
        Kind::Pings => {
            meanwhile(flood(frame(0x89, b"x").repeat(100)), socket.listen(Shared::default())).await
        }
        Kind::Frames => {
            meanwhile(flood(text_frame("/sim text=x").repeat(10)), socket.listen(Shared::default())).await
        }
        Kind::Stalled => {
            send(&write, &answer).await?;
            // A client that does not read cannot see that it was disconnected; by default that is after 12 s.
            sleep(Duration::from_secs(15)).await;
            Ok(())
        }
        Kind::Slow => {
            send(&write, &answer).await?;
            loop {
                sleep(Duration::from_secs(1)).await;
                if let Err(error) = socket.sip(1 << 10).await {
                    break Err(error);
                }
            }
        }
    };
    Ok(())
}

/// Writes and reads until one of them ends. A writer goes on reading for a moment, to get the close frame.
async fn meanwhile(
    push: impl Future<Output = Result<()>>,
    listen: impl Future<Output = Result<()>>,
) -> Result<()> {
    tokio::pin!(listen);
    tokio::select! {
        pushed = push => {
            let _ = timeout(Duration::from_secs(1), listen).await;
            pushed
        }
        received = &mut listen => received,
    }
}
