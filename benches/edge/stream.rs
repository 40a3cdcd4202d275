//! Answers on many sockets at once.
use crate::process::{Cpu, Spent, need_descriptors, now_ns, rss};
use crate::tally::{Shared, Tally, percentile};
use crate::wire::{Target, send, text_frame};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::json;
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::sleep;

/// Maximum concurrent handshakes.
pub(crate) const OPENING: usize = 64;

#[derive(Args)]
pub(crate) struct Settings {
    /// The gateway (ws://HOST:PORT/chat) or, for direct, an endpoint of the simulator or of another gateway (http://...)
    #[arg(long)]
    url: String,
    /// How many sockets get an answer
    #[arg(long, default_value_t = 500)]
    sockets: usize,
    /// What each socket asks; the answer has to last beyond the window
    #[arg(long, default_value = "/sim tokens=600 pace_ms=33 stamp=1 think=0")]
    prompt: String,
    /// The model, for direct
    #[arg(long, default_value = "sim-chat")]
    model: String,
    /// Seconds over which the questions are spread
    #[arg(long, default_value_t = 1.0)]
    ramp: f64,
    /// Seconds between the last question and the window
    #[arg(long, default_value_t = 3.0)]
    warm: f64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// The server whose CPU and memory are read
    #[arg(long)]
    pid: Option<u32>,
    /// Print one JSON line, too
    #[arg(long)]
    json: bool,
}

/// How the answers are requested.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Socket,
    Direct,
}

pub(crate) async fn run(settings: Settings, way: Way) -> Result<()> {
    need_descriptors(settings.sockets, settings.pid)?;
    let before = settings.pid.map(rss).transpose()?;
    let tally = Shared::default();
    ask(&settings, way, &tally).await?;
    sleep(Duration::from_secs_f64(settings.ramp + settings.warm)).await;

    let cpu = || settings.pid.map(Cpu::read).transpose();
    let (server, client) = (cpu()?, Cpu::read(std::process::id())?);
    let start = now_ns();
    tally.borrow_mut().recording = true;
    sleep(Duration::from_secs_f64(settings.seconds)).await;
    tally.borrow_mut().recording = false;
    let measured = Measured {
        window: Duration::from_nanos(now_ns() - start),
        client: Cpu::read(std::process::id())?.since(&client),
        server: cpu()?.zip(server).map(|(now, earlier)| now.since(&earlier)),
        memory: settings.pid.map(rss).transpose()?.zip(before),
    };

    let tally = tally.take();
    if let Some(complaint) = tally.complaint() {
        eprintln!("warning: {complaint}");
    }
    if tally.latencies.is_empty() {
        bail!("no stamped delta came in the window (is stamp=1 in the prompt, and the answer long enough?)");
    }
    report(&settings, way, tally, &measured)
}

/// Opens the sockets and spreads the questions over the ramp.
async fn ask(settings: &Settings, way: Way, tally: &Shared) -> Result<()> {
    let wait = |i: usize| Duration::from_secs_f64(settings.ramp * i as f64 / settings.sockets as f64);
    match way {
        Way::Socket => {
            let target = Target::parse(&settings.url, "ws")?;
            let sockets: Vec<_> = stream::iter(0..settings.sockets)
                .map(|_| target.open())
                .buffer_unordered(OPENING)
                .try_collect()
                .await?;
            let question = text_frame(&settings.prompt);
            for (i, socket) in sockets.into_iter().enumerate() {
                let (wait, question) = (wait(i), question.clone());
                watch(tally, async move |tally| {
                    sleep(wait).await;
                    send(&socket.write, &question).await?;
                    drop(question);
                    socket.listen(tally).await
                });
            }
        }
        Way::Direct => {
            let target = Target::parse(&settings.url, "http")?;
            for i in 0..settings.sockets {
                let (wait, target) = (wait(i), target.clone());
                let (prompt, model) = (settings.prompt.clone(), settings.model.clone());
                watch(tally, async move |tally| {
                    sleep(wait).await;
                    target.post(&prompt, &model).await?.listen_direct(tally).await
                });
            }
        }
    }
    Ok(())
}

/// Runs one socket. It should not end, so any end is recorded as an error.
pub(crate) fn watch(tally: &Shared, socket: impl AsyncFnOnce(Shared) -> Result<()> + 'static) {
    let tally = tally.clone();
    spawn_local(async move {
        if let Err(error) = socket(tally.clone()).await {
            tally.borrow_mut().trouble(format!("{error:#}"));
        }
    });
}

/// The server's figures.
struct Measured {
    window: Duration,
    client: Spent,
    server: Option<Spent>,
    /// Bytes at the end of the window, and before the first socket.
    memory: Option<(u64, u64)>,
}

fn report(settings: &Settings, way: Way, mut tally: Tally, measured: &Measured) -> Result<()> {
    let Measured { window, client, server, memory } = *measured;
    tally.latencies.sort_unstable();
    let deltas = tally.latencies.len() as f64;
    let micros = |share| percentile(&tally.latencies, share) as f64 / 1e3;
    let per_delta = |time: Duration| time.as_secs_f64() * 1e6 / deltas;
    let (p50, p99, p999) = (micros(0.5), micros(0.99), micros(0.999));
    let rate = deltas / window.as_secs_f64();
    let (sockets, live) = (settings.sockets, tally.live);

    let mut line = format!(
        "{live} of {sockets} streams, {rate:.0} deltas/s: p50 {p50:.0} p99 {p99:.0} p99.9 {p999:.0} µs, client {:.1} µs/delta",
        per_delta(client.total)
    );
    let mut json = json!({
        "mode": if way == Way::Socket { "stream" } else { "direct" },
        "sockets": sockets, "live": live, "troubles": tally.troubles,
        "seconds": window.as_secs_f64(), "deltas": tally.latencies.len(), "deltas_per_s": rate,
        "deltas_per_read": deltas / tally.reads.max(1) as f64,
        "p50_us": p50, "p99_us": p99, "p999_us": p999, "client_us_per_delta": per_delta(client.total),
    });
    if let Some(spent) = server {
        let (cpu, user, system) = (per_delta(spent.total), per_delta(spent.user), per_delta(spent.system));
        let cores = spent.total.as_secs_f64() / window.as_secs_f64();
        line += &format!("; server {cpu:.2} µs/delta (user {user:.1}, sys {system:.1}), {cores:.2} cores");
        json["cpu_us_per_delta"] = cpu.into();
        json["user_us_per_delta"] = user.into();
        json["sys_us_per_delta"] = system.into();
        json["cores"] = cores.into();
    }
    if let Some((after, before)) = memory {
        let each = after.saturating_sub(before) as f64 / sockets.max(1) as f64;
        let resident = after as f64 / f64::from(1 << 20);
        line += &format!(", {resident:.1} MiB, {:.1} KiB per streaming socket", each / 1024.0);
        json["rss"] = after.into();
        json["rss_before"] = before.into();
        json["rss_per_socket"] = each.into();
    }
    println!("{line}");
    if settings.json {
        println!("{}", serde_json::to_string(&json).context("cannot spell the report")?);
    }
    Ok(())
}
