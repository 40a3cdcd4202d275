//! What stands behind a socket: an actor that is given whole messages. Control frames and closes are answered here,
//! the same for all of them.
use super::{
    context::SocketContext,
    stream::FrameStream,
    task::{Kept, Socket},
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

/// Frames that are handled in one poll, before other futures of the actor get their turn.
const FRAMES_MAX: usize = 16;

/// A whole message, whatever fragments it came in.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

pub trait SocketHandler: Actor<Context = SocketContext<Self>> {
    fn on_message(&mut self, ctx: &mut SocketContext<Self>, message: Message<'_>);

    /// A frame came, of any kind: the peer is alive.
    fn on_frame(&mut self) {}

    /// The socket is about to be closed: the peer wants it, or has broken a rule.
    fn on_close(&mut self, close: Close) {
        let _ = close;
    }
}

/// A socket whose upgrade is agreed to.
pub struct Upgraded<'a> {
    /// Names the connection.
    pub id: u64,
    pub io: TcpStream,
    /// The answer to the upgrade request, written first.
    pub head: Vec<u8>,
    /// What the client sent right behind its request.
    pub early: &'a [u8],
    /// Where the client comes from, for its share of what the worker reads.
    pub source: Source,
    /// Bytes of one message at most.
    pub frame_bytes: u32,
}

/// Starts the task of a socket; `make` gives it its actor, and `kept` lives as long as the socket is open.
pub fn open<H: SocketHandler, K: Kept + 'static>(
    worker: &Rc<SocketWorker>,
    upgraded: Upgraded<'_>,
    kept: K,
    make: impl FnOnce(Rc<TcpStream>) -> H,
) {
    let Upgraded { id, io, head, early, source, frame_bytes } = upgraded;
    let options = socket2::SockRef::from(&io);
    // Without it a delta waits until the one before is acknowledged, which takes a peer up to 40 ms.
    // actix-http sets it for HTTP/2 alone.
    let _ = options.set_tcp_nodelay(true);
    // What it does not bound, the write deadline does; so a refusal by the kernel is no fault. There is
    // no TCP_USER_TIMEOUT: it counts on over the small steps in which a slow reader opens its window.
    let _ = options.set_send_buffer_size(worker.settings.send_buffer);
    let io = Rc::new(io);
    let frames = FrameStream::new(Rc::clone(worker), Rc::clone(&io), id, source, frame_bytes, early);
    let socket = Socket::new(Rc::clone(&io), head, worker.settings.bounds, kept, |ctx| {
        ctx.spawn(Reading { frames });
        make(io)
    });
    actix_rt::spawn(socket);
}

/// One of the actor's futures: hands it what the peer sends.
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
        ctx.stop(); // The peer is gone without a close frame.
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
        // Fragments are joined before they come here.
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
