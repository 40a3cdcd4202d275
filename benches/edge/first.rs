//! Time to the first delta, one answer at a time on an otherwise idle machine: how much the gateway adds to that of the
//! simulator.
use crate::process::now_ns;
use crate::tally::percentile;
use crate::wire::{Socket, Target, send, text_frame};
use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

/// Turns before the measured ones, so that both workers have a connection to the simulator.
const WARM: usize = 20;
/// Pause between two turns, so that the previous one is completely over.
const PAUSE: Duration = Duration::from_millis(3);
const CONTENT: &[u8] = b"\"content\":\"";

#[derive(Args)]
pub(crate) struct Settings {
    /// The gateway (ws://HOST:PORT/chat)
    #[arg(long)]
    url: String,
    /// The simulator's endpoint (http://...)
    #[arg(long)]
    direct: String,
    /// Answers that are measured on each way
    #[arg(long, default_value_t = 500)]
    turns: usize,
    #[arg(long, default_value = "/sim tokens=2 first_ms=0 pace_ms=0 think=0")]
    prompt: String,
    /// The model, for direct
    #[arg(long, default_value = "sim-chat")]
    model: String,
    /// Print one JSON line, too
    #[arg(long)]
    json: bool,
}

/// Each turn has a socket of its own, which is opened before the clock starts. The gateway's time includes the creation of
/// a session, and uses a pooled connection to the simulator.
pub(crate) async fn run(settings: Settings) -> Result<()> {
    let (gateway, simulator) =
        (Target::parse(&settings.url, "ws")?, Target::parse(&settings.direct, "http")?);
    let (frame, request) =
        (text_frame(&settings.prompt), simulator.request(&settings.prompt, &settings.model));
    let (mut through, mut direct) = (Vec::new(), Vec::new());
    for turn in 0..WARM + settings.turns {
        // The order alternates, so that neither has the advantage of being first.
        for way in [turn % 2, (turn + 1) % 2] {
            let took = if way == 0 {
                until(gateway.open().await?, &frame, |got| got.len() > 2 && got[0] == 0x81).await?
            } else {
                until(simulator.connect(None).await?, request.as_bytes(), says_something).await?
            };
            if turn >= WARM {
                if way == 0 { &mut through } else { &mut direct }.push(took);
            }
            sleep(PAUSE).await;
        }
    }
    report(&settings, through, direct)
}

/// Sends a question and waits for the first delta. Returns nanoseconds.
async fn until(mut socket: Socket, question: &[u8], is_there: impl Fn(&[u8]) -> bool) -> Result<u64> {
    let mut got = Vec::new();
    let start = now_ns();
    send(&socket.write, question).await?;
    loop {
        socket.receive(|bytes| got.extend_from_slice(bytes)).await?;
        if is_there(&got) {
            let took = now_ns() - start;
            ensure!(
                memchr::memmem::find(&got, b"Error: ").is_none(),
                "refused: {}",
                String::from_utf8_lossy(&got)
            );
            return Ok(took);
        }
        ensure!(!got.starts_with(b"HTTP/1.1 ") || got.starts_with(b"HTTP/1.1 200"), "the simulator refused");
    }
}

fn says_something(got: &[u8]) -> bool {
    memchr::memmem::find_iter(got, CONTENT)
        .any(|at| got.get(at + CONTENT.len()).is_some_and(|next| *next != b'"'))
}

fn report(settings: &Settings, mut through: Vec<u64>, mut direct: Vec<u64>) -> Result<()> {
    through.sort_unstable();
    direct.sort_unstable();
    let micros = |sorted: &[u64], share| percentile(sorted, share) as f64 / 1e3;
    let mut json = json!({ "mode": "first", "turns": settings.turns });
    let mut line = format!("{} turns", settings.turns);
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let (with, without) = (micros(&through, share), micros(&direct, share));
        line += &format!("; {name} {with:.0} µs, direct {without:.0} µs, added {:.0} µs", with - without);
        json[format!("{name}_us")] = with.into();
        json[format!("direct_{name}_us")] = without.into();
        json[format!("added_{name}_us")] = (with - without).into();
    }
    println!("{line}");
    if settings.json {
        println!("{json}");
    }
    Ok(())
}
