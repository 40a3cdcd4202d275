//! A WebSocket server that sends every message back. It stands on `tidegate::socket` alone (guard, joined fragments,
//! closes, bounded output); no chat is behind it. `/-/ready` says yes to nginx.
use actix::prelude::*;
use std::{io, rc::Rc, sync::Arc, time::Duration};
use tidegate::{
    chat::Source,
    memory::{Limit, Memory},
    socket::{
        context::SocketContext,
        guard,
        handler::{self, Message, SocketHandler, Upgraded},
        rate::Allowance,
        task::Bounds,
        unfinished::Deadlines,
        worker::{Settings, SocketWorker},
    },
    worker_clock::WorkerClock,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// The suite sends messages of 16 MiB, in fragments of 64 bytes too: far more than a gateway takes.
const MESSAGE_BYTES_MAX: u32 = 16 << 20;
const FRAGMENTS_MAX: u32 = 1 << 18;
/// A request is larger than any of the suite or of nginx.
const HEAD_BYTES_MAX: usize = 16 << 10;

struct Echo;

impl Actor for Echo {
    type Context = SocketContext<Self>;
}

impl SocketHandler for Echo {
    fn on_message(&mut self, ctx: &mut SocketContext<Self>, message: Message<'_>) {
        match message {
            Message::Text(text) => ctx.text(text),
            Message::Binary(payload) => ctx.binary(payload),
        }
    }
}

fn settings() -> Settings {
    let minute = Duration::from_secs(60);
    Settings {
        limits: guard::Limits {
            frame_bytes: MESSAGE_BYTES_MAX,
            fragments: FRAGMENTS_MAX,
            rate: Allowance::UNLIMITED,
        },
        bounds: Bounds { high_water: 32 << 10, slow_client: Duration::from_secs(12) },
        deadlines: Deadlines { idle: minute, total: minute, rate_min: 4096 },
        send_buffer: 64 << 10,
        read_rate: usize::MAX,
    }
}

/// The value of a header, by its name in lower case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Answers requests on one connection until one of them is an upgrade.
async fn answer(worker: Rc<SocketWorker>, mut io: TcpStream) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if bytes.len() > HEAD_BYTES_MAX || io.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        };
        let early = bytes.split_off(end);
        let head = String::from_utf8_lossy(&bytes).into_owned();
        bytes = early;
        if head.starts_with("GET /-/ready ") {
            io.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
        } else if let Some(key) = header(&head, "sec-websocket-key") {
            let accept = actix_http::ws::hash_key(key.as_bytes());
            let accept = String::from_utf8_lossy(&accept);
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                 sec-websocket-accept: {accept}\r\n\r\n"
            );
            let upgraded = Upgraded {
                id: 0,
                io,
                head: head.into_bytes(),
                early: &bytes,
                source: Source::of(None),
                frame_bytes: MESSAGE_BYTES_MAX,
            };
            handler::open(&worker, upgraded, (), |_| Echo);
            return Ok(());
        } else {
            return io.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        }
    }
}

/// Serves for ever. Needs an actix system.
pub(crate) async fn serve(listener: TcpListener) -> io::Result<()> {
    let memory = Memory::new(Limit::new(0, |_| None), Instant::now().into_std());
    let clock = WorkerClock::start();
    let worker = SocketWorker::new(settings(), Arc::new(memory), Rc::clone(&clock));
    let sockets = Rc::clone(&worker);
    clock.on_tick(move |_| {
        sockets.resume_reads();
        sockets.check_uploads();
    });
    loop {
        let (io, _) = listener.accept().await?;
        actix::spawn(answer(Rc::clone(&worker), io));
    }
}
