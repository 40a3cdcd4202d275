//! The interface of an actor behind a socket, which receives complete messages. Control frames and closes are
//! handled here, in the same way for all actors.
use super::{
    context::SocketContext,
    stream::FrameStream,
    task::{Resources, Socket},
    worker::SocketWorker,
};
use crate::{chat::Source, protocol::Close};
use actix::prelude::*;
use actix_web_actors::ws::{CloseReason, Frame};
use std::{
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll, ready},
};
use tokio::net::TcpStream;

/// Frames handled per poll; after that many the task yields to the actor's other futures.
const FRAMES_MAX: usize = 16;

/// A complete message, joined from its fragments.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

pub trait SocketHandler: Actor<Context = SocketContext<Self>> {
    fn on_message(&mut self, ctx: &mut SocketContext<Self>, message: Message<'_>);

    /// Called for every frame, of any kind: the peer is alive.
    fn on_frame(&mut self) {}

    /// The socket is about to be closed, by the peer or for a protocol violation.
    fn on_close(&mut self, close: Close) {
        let _ = close;
    }
}

/// A socket after a successful upgrade.
pub struct Upgraded<'a> {
    /// Identifies the connection.
    pub id: u64,
    pub io: TcpStream,
    /// The response to the upgrade request, written first.
    pub head: Vec<u8>,
    /// Bytes that the client sent with its request.
    pub early: &'a [u8],
    /// The client's network, for its share of the worker's read budget.
    pub source: Source,
    /// Maximum payload of one message in bytes.
    pub frame_bytes: u32,
}

/// Starts the task of a socket. `make` creates its actor; `resources` are dropped when the socket is closed.
pub fn open<H: SocketHandler, R: Resources + 'static>(
    worker: &Rc<SocketWorker>,
    upgraded: Upgraded<'_>,
    resources: R,
    make: impl FnOnce(Rc<TcpStream>) -> H,
) {
    let Upgraded { id, io, head, early, source, frame_bytes } = upgraded;
    let options = socket2::SockRef::from(&io);
    // Without it, Nagle's algorithm delays a delta until the one before is acknowledged, up to 40 ms.
    // actix-http sets it for HTTP/2 only.
    let _ = options.set_tcp_nodelay(true);
    // An error is ignored: the write timeout bounds what this does not. TCP_USER_TIMEOUT is not used: it
    // keeps running across the small steps in which a slow peer opens its window.
    let _ = options.set_send_buffer_size(worker.settings.send_buffer);
    let io = Rc::new(io);
    let frames = FrameStream::new(Rc::clone(worker), Rc::clone(&io), id, source, frame_bytes, early);
    let socket = Socket::new(Rc::clone(&io), head, Rc::clone(&worker.bounds), resources, |ctx| {
        ctx.spawn(Reading { frames });
        make(io)
    });
    actix_rt::spawn(socket);
}

/// A future of the actor that passes it the peer's frames.
struct Reading {
    frames: FrameStream,
}

impl<H: SocketHandler> ActorFuture<H> for Reading {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        handler: &mut H,
        ctx: &mut SocketContext<H>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let mut handled = 0;
        while let Some(frame) = ready!(Pin::new(&mut self.frames).poll_next(task)) {
            handle(handler, ctx, frame);
            handled += 1;
            if ctx.waiting() {
                return Poll::Pending;
            }
            if handled == FRAMES_MAX {
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        ctx.stop(); // The peer has disconnected without a close frame.
        Poll::Ready(())
    }
}

fn handle<H: SocketHandler>(handler: &mut H, ctx: &mut SocketContext<H>, frame: Result<Frame, Close>) {
    handler.on_frame();
    match frame {
        Ok(Frame::Text(payload)) => match std::str::from_utf8(&payload) {
            Ok(text) => handler.on_message(ctx, Message::Text(text)),
            Err(_) => close(handler, ctx, Close::InvalidText),
        },
        Ok(Frame::Binary(payload)) => handler.on_message(ctx, Message::Binary(&payload)),
        // The frame stream has joined the fragments.
        Ok(Frame::Continuation(_)) => {}
        Ok(Frame::Ping(payload)) => ctx.pong(&payload),
        Ok(Frame::Pong(_)) => {}
        Ok(Frame::Close(reason)) => {
            handler.on_close(Close::Normal);
            let code = reason.map_or(Close::Normal.code(), |CloseReason { code, .. }| code.into());
            ctx.close_with(code, "");
        }
        Err(why) => close(handler, ctx, why),
    }
}

fn close<H: SocketHandler>(handler: &mut H, ctx: &mut SocketContext<H>, why: Close) {
    handler.on_close(why);
    ctx.close(why);
}
