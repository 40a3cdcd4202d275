//! An actor context over an upgraded socket: what the actor sends is encoded at once.
//!
//! Uses `actix::dev::{ContextParts, Envelope}`, which are public but sparsely documented. The tests in
//! `socket::tests` cover the behaviour relied on, and the actix version is pinned exactly. [`super::task`]
//! drives it.
use super::{
    direct::DirectWriter,
    frame::{OutputBuffer, write_frame},
    window::SendWindow,
};
use crate::protocol::Close;
use actix::{
    dev::{AsyncContextParts, ContextParts, Envelope, Mailbox, ToEnvelope},
    prelude::*,
};
use std::{rc::Rc, sync::Arc};
use tokio::sync::oneshot;

pub struct SocketContext<A: Actor<Context = Self>> {
    parts: ContextParts<A>,
    /// Encoded frames of this poll; `None` between polls.
    pub(super) out: Option<OutputBuffer>,
    pub(super) high_water: usize,
    /// A close frame was written; later frames are discarded.
    pub(super) closed: bool,
    /// Why the socket's task disconnected it.
    pub(super) cut: Option<Close>,
    /// Used by sessions, once there is one.
    shared: Option<Box<SharedOutput>>,
    /// Cost of the pushes whose bytes the kernel has not accepted yet.
    unflushed: usize,
}

/// What sessions write to.
struct SharedOutput {
    window: Arc<SendWindow>,
    /// For sessions of the same thread.
    direct: Rc<DirectWriter>,
}

impl<A: Actor<Context = Self>> ActorContext for SocketContext<A> {
    fn stop(&mut self) {
        self.parts.stop();
    }

    fn terminate(&mut self) {
        self.parts.terminate();
    }

    fn state(&self) -> ActorState {
        self.parts.state()
    }
}

impl<A: Actor<Context = Self>> AsyncContext<A> for SocketContext<A> {
    fn spawn<F: ActorFuture<A, Output = ()> + 'static>(&mut self, fut: F) -> SpawnHandle {
        self.parts.spawn(fut)
    }

    fn wait<F: ActorFuture<A, Output = ()> + 'static>(&mut self, fut: F) {
        self.parts.wait(fut);
    }

    /// Also true at the high-water mark, which pauses the mailbox and the frame stream.
    fn waiting(&self) -> bool {
        self.parts.waiting() || self.out.as_ref().is_some_and(|out| out.len() >= self.high_water)
    }

    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        self.parts.cancel_future(handle)
    }

    fn address(&self) -> Addr<A> {
        self.parts.address()
    }
}

impl<A: Actor<Context = Self>> AsyncContextParts<A> for SocketContext<A> {
    fn parts(&mut self) -> &mut ContextParts<A> {
        &mut self.parts
    }
}

impl<A, M> ToEnvelope<A, M> for SocketContext<A>
where
    A: Actor<Context = SocketContext<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn pack(message: M, reply: Option<oneshot::Sender<M::Result>>) -> Envelope<A> {
        Envelope::new(message, reply)
    }
}

impl<A: Actor<Context = Self>> SocketContext<A> {
    pub(super) fn new(mailbox: &Mailbox<A>, high_water: usize) -> Self {
        SocketContext {
            parts: ContextParts::new(mailbox.sender_producer()),
            out: None,
            high_water,
            closed: false,
            cut: None,
            shared: None,
            unflushed: 0,
        }
    }

    /// Writes a text message.
    pub fn text(&mut self, text: &str) {
        self.frame(1, text.as_bytes());
    }

    /// Writes a binary message.
    pub fn binary(&mut self, payload: &[u8]) {
        self.frame(2, payload);
    }

    pub fn ping(&mut self) {
        self.frame(9, b"");
    }

    pub fn pong(&mut self, payload: &[u8]) {
        self.frame(10, payload);
    }

    /// Writes a close frame and stops the actor.
    pub fn close(&mut self, close: Close) {
        self.close_with(close.code(), close.reason());
    }

    /// Writes a close frame with this code and stops the actor.
    pub fn close_with(&mut self, code: u16, reason: &str) {
        let mut payload = [0; 64];
        let length = reason.len().min(payload.len() - 2);
        payload[..2].copy_from_slice(&code.to_be_bytes());
        payload[2..2 + length].copy_from_slice(&reason.as_bytes()[..length]);
        self.frame(8, &payload[..2 + length]);
        self.closed = true;
        if let Some(direct) = self.direct() {
            direct.block();
        }
        self.parts.stop();
    }

    /// Why the socket's task disconnected it, if it did.
    pub fn cut(&self) -> Option<Close> {
        self.cut
    }

    /// The send window and the direct writer, shared by all subscriptions of this socket; created on first
    /// use.
    pub fn output(
        &mut self,
        direct: impl FnOnce(Arc<SendWindow>) -> DirectWriter,
    ) -> (Arc<SendWindow>, Rc<DirectWriter>) {
        let high_water = self.high_water;
        let shared = self.shared.get_or_insert_with(|| {
            let window = Arc::new(SendWindow::new(high_water));
            Box::new(SharedOutput { direct: Rc::new(direct(Arc::clone(&window))), window })
        });
        (Arc::clone(&shared.window), Rc::clone(&shared.direct))
    }

    /// The direct writer, once there is a session.
    pub(super) fn direct(&self) -> Option<&DirectWriter> {
        self.shared.as_ref().map(|shared| &*shared.direct)
    }

    /// Writes encoded frames.
    pub fn frames(&mut self, frames: &[u8]) {
        if !self.closed {
            self.out.get_or_insert_default().extend_from_slice(frames);
        }
    }

    /// Adds the cost of a push; the window is credited when its bytes are written.
    pub fn add_unflushed(&mut self, cost: usize) {
        self.unflushed += cost;
    }

    fn frame(&mut self, opcode: u8, payload: &[u8]) {
        if !self.closed {
            write_frame(self.out.get_or_insert_default(), opcode, payload);
        }
    }

    /// The kernel has accepted all output: credits the window.
    pub(super) fn flushed(&mut self) {
        if let Some(shared) = &self.shared {
            shared.window.release(std::mem::take(&mut self.unflushed));
        }
    }
}
