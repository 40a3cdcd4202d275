//! Memory of idle sockets, and the memory that remains after one message on each.
use crate::process::{Cpu, need_descriptors, settled_rss};
use crate::stream::{OPENING, watch};
use crate::tally::Shared;
use crate::wire::{Target, send, text_frame};
use anyhow::Result;
use clap::Args;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::json;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::sleep;

/// A message with the shortest answer; it is padded with blanks to the requested length.
const SHORT_TURN: &str = "/sim tokens=1 think=0";
/// Number of sockets per burst of messages.
const BURST: usize = 64;
/// Pause between bursts, so that no queue forms: only memory is measured.
const BURST_PAUSE: Duration = Duration::from_millis(40);

#[derive(Args)]
pub(crate) struct Settings {
    /// The gateway (ws://HOST:PORT/chat)
    #[arg(long)]
    url: String,
    #[arg(long, default_value_t = 5000)]
    sockets: usize,
    /// The server whose memory is read
    #[arg(long)]
    pid: u32,
    /// Also send messages of this size on each socket: one of blanks, which is refused and leaves no
    /// history, then one that is answered in a word and stays in history
    #[arg(long)]
    message_bytes: Option<usize>,
    /// Longest wait in seconds until memory stands still, each time
    #[arg(long, default_value_t = 20.0)]
    settle: f64,
    /// Print one JSON line, too
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(settings: Settings) -> Result<()> {
    let Settings { sockets, pid, .. } = settings;
    need_descriptors(sockets, Some(pid))?;
    let target = Target::parse(&settings.url, "ws")?;
    let settle = Duration::from_secs_f64(settings.settle);
    let (empty, _) = settled_rss(pid, settle).await?;

    let cpu = Cpu::read(pid)?;
    let opened: Vec<_> =
        stream::iter(0..sockets).map(|_| target.open()).buffer_unordered(OPENING).try_collect().await?;
    let open_us = Cpu::read(pid)?.since(&cpu).total.as_secs_f64() * 1e6 / sockets as f64;

    let tally = Shared::default();
    let mut writers = Vec::with_capacity(sockets);
    for socket in opened {
        writers.push(socket.write.clone());
        watch(&tally, async move |tally| socket.listen(tally).await);
    }
    let each = async || -> Result<f64> {
        let (now, settled) = settled_rss(pid, settle).await?;
        if !settled {
            eprintln!("warning: memory did not stand still within {} s", settings.settle);
        }
        Ok((now as f64 - empty as f64) / sockets as f64)
    };
    let idle = each().await?;
    let mut line = format!("{sockets} idle sockets: {idle:.0} B each (opening one: {open_us:.1} µs of CPU)");
    let mut json = json!({
        "mode": "idle", "sockets": sockets, "rss_before": empty, "rss_per_socket": idle, "open_us": open_us,
    });
    warn(&tally);
    if let Some(bytes) = settings.message_bytes {
        send_all(&writers, &" ".repeat(bytes), &tally).await;
        let refused = each().await?;
        // These messages are rejected on purpose, so the errors do not count.
        tally.take();
        send_all(&writers, &format!("{SHORT_TURN:<bytes$}"), &tally).await;
        let answered = each().await?;
        warn(&tally);
        let growth = |now: f64| (now / idle - 1.0) * 100.0;
        line += &format!(
            "; after {bytes} blanks each {refused:.0} B ({:+.1} %), after a turn of {bytes} bytes each {answered:.0} B",
            growth(refused)
        );
        json["rss_per_socket_refused"] = refused.into();
        json["growth_percent"] = growth(refused).into();
        json["rss_per_socket_answered"] = answered.into();
    }
    println!("{line}");
    if settings.json {
        println!("{json}");
    }
    Ok(())
}

fn warn(tally: &Shared) {
    if let Some(complaint) = tally.borrow().complaint() {
        eprintln!("warning: {complaint}");
    }
}

/// Sends this text on every socket, slowly enough that no queue forms.
async fn send_all(writers: &[Rc<OwnedWriteHalf>], text: &str, tally: &Shared) {
    let frame = text_frame(text);
    for burst in writers.chunks(BURST) {
        for writer in burst {
            if let Err(error) = send(writer, &frame).await {
                tally.borrow_mut().trouble(format!("{error:#}"));
            }
        }
        sleep(BURST_PAUSE).await;
    }
}
