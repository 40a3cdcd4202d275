//! From a client's stop, or the end of its socket, to the close of the upstream's connection: after that the service
//! writes no token more for nobody. This program is client and upstream in one, so that one clock tells both times.
use crate::process::now_ns;
use crate::tally::percentile;
use crate::wire::{Socket, Target, send, text_frame};
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::timeout;

/// Turns before the measured ones.
const WARM: usize = 20;
/// A step that takes longer fails the measurement.
const LIMIT: Duration = Duration::from_secs(10);
const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const EVENT: &str = "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"choices\":[{\"message\":{\"content\":\"tide\",\
                     \"role\":\"assistant\"},\"finish_reason\":\"null\"}]},\"request_id\":\"leave\"}\n\n";

#[derive(Args)]
pub(crate) struct Settings {
    /// The gateway (ws://HOST:PORT/), whose upstream is --listen
    #[arg(long)]
    url: String,
    /// Where the gateway reaches its upstream
    #[arg(long)]
    listen: String,
    /// Turns that are measured in each state
    #[arg(long, default_value_t = 500)]
    turns: usize,
    /// Print one JSON line, too
    #[arg(long)]
    json: bool,
}

/// How far an answer is when the client leaves.
#[derive(Clone, Copy)]
enum State {
    /// The service has the request and has not answered.
    Asked,
    /// The first text has arrived.
    Streaming,
}

/// How the client leaves.
#[derive(Clone, Copy)]
enum Way {
    /// It closes its connection on `/chat`.
    Closed,
    /// It sends `abort` on `/api/chat`.
    Stopped,
}

/// What the upstream noticed, in this order for each turn.
enum Noticed {
    Request,
    /// The gateway closed the connection, at this time.
    Closed(u64),
}

pub(crate) async fn run(settings: Settings) -> Result<()> {
    let listener = TcpListener::bind(&settings.listen).await.context("cannot bind --listen")?;
    let mut json = json!({ "mode": "leave", "turns": settings.turns });
    let mut line = format!("{} turns each", settings.turns);
    for (name, way, state) in [
        ("closed_asked", Way::Closed, State::Asked),
        ("closed_streaming", Way::Closed, State::Streaming),
        ("stopped_asked", Way::Stopped, State::Asked),
        ("stopped_streaming", Way::Stopped, State::Streaming),
    ] {
        let mut times = measure(&settings, &listener, way, state).await.with_context(|| name.to_owned())?;
        times.sort_unstable();
        let micros = |share| percentile(&times, share) as f64 / 1e3;
        let (p50, p99) = (micros(0.5), micros(0.99));
        line += &format!("; {} p50 {p50:.0} p99 {p99:.0} µs", name.replace('_', " while "));
        json[format!("{name}_p50_us")] = p50.into();
        json[format!("{name}_p99_us")] = p99.into();
    }
    println!("{line}");
    if settings.json {
        println!("{json}");
    }
    Ok(())
}

async fn measure(settings: &Settings, listener: &TcpListener, way: Way, state: State) -> Result<Vec<u64>> {
    let path = match way {
        Way::Closed => "chat",
        Way::Stopped => "api/chat",
    };
    let gateway = Target::parse(&format!("{}/{path}", settings.url.trim_end_matches('/')), "ws")?;
    let (noticed, mut notices) = mpsc::unbounded_channel();
    let mut times = Vec::with_capacity(settings.turns);
    for turn in 0..WARM + settings.turns {
        let mut socket = gateway.open().await?;
        send(&socket.write, &text_frame(&question(way, turn))).await?;
        let (upstream, _) = timeout(LIMIT, listener.accept()).await.context("the gateway did not ask")??;
        let noticed = noticed.clone();
        spawn_local(async move { serve(upstream, state, noticed).await.ok() });
        next(&mut notices).await?;
        if matches!(state, State::Streaming) {
            timeout(LIMIT, shown(&mut socket)).await.context("the text did not arrive")??;
        }
        let left = now_ns();
        match way {
            Way::Closed => drop(socket),
            Way::Stopped => {
                send(&socket.write, &text_frame(&json!({ "type": "abort", "requestId": "r" }).to_string()))
                    .await?
            }
        }
        let Noticed::Closed(closed) = next(&mut notices).await? else { anyhow::bail!("a second request") };
        if turn >= WARM {
            times.push(closed.saturating_sub(left));
        }
    }
    Ok(times)
}

fn question(way: Way, turn: usize) -> String {
    let frame: Value = match way {
        Way::Closed => return "What is a tide?".to_owned(),
        Way::Stopped => json!({
            "type": "send", "requestId": "r", "id": format!("leave-{turn}"), "trigger": "submit-message",
            "messages": [{ "id": "u1", "role": "user", "parts": [{ "type": "text", "text": "What is a tide?" }] }],
        }),
    };
    frame.to_string()
}

/// Waits for the text of [`EVENT`].
async fn shown(socket: &mut Socket) -> Result<()> {
    let mut got = Vec::new();
    while memchr::memmem::find(&got, b"tide").is_none() {
        socket.receive(|bytes| got.extend_from_slice(bytes)).await?;
        ensure!(memchr::memmem::find(&got, b"rror").is_none(), "refused: {}", String::from_utf8_lossy(&got));
    }
    Ok(())
}

async fn next(notices: &mut mpsc::UnboundedReceiver<Noticed>) -> Result<Noticed> {
    timeout(LIMIT, notices.recv()).await.context("the upstream noticed nothing")?.context("no upstream")
}

/// Serves one request, to its end by the gateway.
async fn serve(mut upstream: TcpStream, state: State, noticed: mpsc::UnboundedSender<Noticed>) -> Result<()> {
    upstream.set_nodelay(true)?;
    let (mut got, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    while !is_whole(&got) {
        let read = upstream.read(&mut buffer).await?;
        ensure!(read > 0, "closed within the request");
        got.extend_from_slice(&buffer[..read]);
    }
    if matches!(state, State::Streaming) {
        upstream.write_all(HEAD).await?;
        upstream.write_all(format!("{:x}\r\n{EVENT}\r\n", EVENT.len()).as_bytes()).await?;
    }
    noticed.send(Noticed::Request).ok();
    // The end and a reset are both a close.
    while matches!(upstream.read(&mut buffer).await, Ok(1..)) {}
    noticed.send(Noticed::Closed(now_ns())).ok();
    Ok(())
}

/// Whether head and body of a request are there.
fn is_whole(got: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(got, b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&got[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    got.len() >= end + 4 + length.unwrap_or(0)
}
