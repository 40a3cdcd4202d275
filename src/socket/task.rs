//! The task of one upgraded socket: polls its actor, writes the actor's output, and closes the socket.
//!
//! Uses `actix::dev::{ContextFut, Mailbox}`, which are public but sparsely documented. The tests in
//! `socket::tests` cover the behaviour relied on, and the actix version is pinned exactly.
//!
//! **Invariant:** while `high_water` bytes of output are pending, the actor is not polled: it handles no
//! message and reads no frame, so its mailbox fills and rejects senders, and output does not grow further.
//! The write timeout does not depend on the actor: it belongs to the socket, and exists only while output is
//! pending.
use super::{
    context::SocketContext,
    frame::{IN, OutputBuffer, SENT, count, give_back, take_output},
    stall::Stall,
};
use crate::protocol::Close;
use actix::{
    dev::{ContextFut, Mailbox},
    prelude::*,
};
use std::{
    future::Future,
    io::ErrorKind,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{Sleep, sleep},
};

/// Bytes discarded while waiting for the peer's close; a peer that sends more is disconnected.
const CLOSE_BYTES_MAX: usize = 256 * 1024;
/// Time for the peer to close its side after our close frame; then the socket is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Multiple of the write timeout that the kernel may keep unsent data after an orderly close.
const ORPHAN_FACTOR: u32 = 2;
/// Steps per wake-up; after that many the task yields to others of its thread.
const STEPS_MAX: usize = 8;

/// Bounds of a socket's output.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Pending bytes at which the actor is no longer polled.
    pub high_water: usize,
    /// Time without progress of a write after which the peer is disconnected.
    pub slow_client: Duration,
}

/// What a socket holds until it is closed, such as permits and memory accounts.
pub trait Resources {
    /// Sets the size of the output buffer in bytes. Called after every poll.
    fn set_buffered_output(&mut self, bytes: usize);
}

impl Resources for () {
    fn set_buffered_output(&mut self, _: usize) {}
}

/// The task of one socket.
pub struct Socket<A: Actor<Context = SocketContext<A>>, R: Resources = ()> {
    io: Rc<TcpStream>,
    /// Shared by the sockets of a thread.
    bounds: Rc<Bounds>,
    state: SocketState<A>,
    /// Dropped when the socket is closed, which may be after the actor has stopped.
    resources: R,
}

#[expect(clippy::large_enum_variant, reason = "the large variant is the one that there are thousands of")]
enum SocketState<A: Actor<Context = SocketContext<A>>> {
    Running {
        actor: ContextFut<A, SocketContext<A>>,
        pending: Option<Box<Pending>>,
    },
    /// The actor has stopped; its last output is being written.
    Flushing(Box<Pending>),
    /// Our side is shut down; waits for the peer to close its own.
    AwaitingClose {
        timer: Pin<Box<Sleep>>,
        discarded: usize,
    },
}

/// Output that the kernel has not accepted yet, with the write timeout.
struct Pending {
    bytes: Vec<u8>,
    written: usize,
    stall: Stall,
}

/// The socket is finished: closed by both sides, failed, or timed out.
struct Terminated;

impl<A: Actor<Context = SocketContext<A>>, R: Resources> Socket<A, R> {
    /// `head` is written first. `make` receives the context, to add the frame stream to it, and returns the
    /// actor. `resources` are dropped when the socket is closed.
    pub fn new(
        io: Rc<TcpStream>,
        head: Vec<u8>,
        bounds: Rc<Bounds>,
        resources: R,
        make: impl FnOnce(&mut SocketContext<A>) -> A,
    ) -> Self {
        let mailbox = Mailbox::default();
        let mut ctx = SocketContext::new(&mailbox, bounds.high_water);
        let actor = make(&mut ctx);
        let pending = Some(Box::new(Pending::new(head, bounds.slow_client)));
        let state = SocketState::Running { actor: ContextFut::new(ctx, actor, mailbox), pending };
        Socket { io, bounds, state, resources }
    }

    /// Permits direct writes by sessions while no output is pending here.
    fn settle_direct(&mut self, cx: &mut TaskContext<'_>) {
        let SocketState::Running { actor, pending } = &mut self.state else { return };
        let ctx = actor.ctx();
        if let Some(direct) = ctx.direct() {
            direct.settle(pending.is_some() || ctx.closed, cx.waker());
        }
    }

    /// Makes one step. `Ready(Ok(()))` means that another step should follow.
    fn step(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Terminated>> {
        let (io, slow_client) = (&*self.io, self.bounds.slow_client);
        match &mut self.state {
            SocketState::Running { actor, pending } => match run(io, slow_client, actor, pending, cx) {
                Poll::Ready(Ok(Next::Again)) => Poll::Ready(Ok(())),
                Poll::Ready(Ok(Next::End)) => {
                    self.state = match pending.take() {
                        Some(waiting) => SocketState::Flushing(waiting),
                        // Without a close frame there is no closing handshake to wait for.
                        None if actor.ctx().closed => await_close(io)?,
                        None => return Poll::Ready(Err(Terminated)),
                    };
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(Terminated)) => Poll::Ready(Err(Terminated)),
                Poll::Pending => Poll::Pending,
            },
            SocketState::Flushing(waiting) => {
                ready!(waiting.flush(io, cx)).map_err(|_| Terminated)?;
                self.state = await_close(io)?;
                Poll::Ready(Ok(()))
            }
            SocketState::AwaitingClose { timer, discarded } => {
                if timer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(Terminated));
                }
                ready!(io.poll_read_ready(cx)).map_err(|_| Terminated)?;
                match IN.with_borrow_mut(|buffer| io.try_read(buffer)) {
                    Ok(read) if read > 0 && *discarded + read <= CLOSE_BYTES_MAX => *discarded += read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // The peer has closed its side as well, the read failed, or it sent too much.
                    Ok(_) | Err(_) => return Poll::Ready(Err(Terminated)),
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<A: Actor<Context = SocketContext<A>>, R: Resources> Future for Socket<A, R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut steps = 0;
        let step = loop {
            match this.step(cx) {
                Poll::Ready(Ok(())) if steps < STEPS_MAX => steps += 1,
                step => break step,
            }
        };
        match step {
            Poll::Ready(Err(Terminated)) => {
                // The kernel may go on sending what it holds, but for a limited time: no task watches it now.
                let rest = Some(this.bounds.slow_client * ORPHAN_FACTOR);
                let _ = socket2::SockRef::from(&*this.io).set_tcp_user_timeout(rest);
                return Poll::Ready(());
            }
            Poll::Ready(Ok(())) => cx.waker().wake_by_ref(),
            Poll::Pending => {}
        }
        this.settle_direct(cx);
        let waiting = match &this.state {
            SocketState::Running { pending: Some(pending), .. } | SocketState::Flushing(pending) => {
                pending.bytes.capacity()
            }
            SocketState::Running { pending: None, .. } | SocketState::AwaitingClose { .. } => 0,
        };
        this.resources.set_buffered_output(waiting);
        Poll::Pending
    }
}

// `ContextFut` is used without pinning; nothing here is self-referential.
impl<A: Actor<Context = SocketContext<A>>, R: Resources> Unpin for Socket<A, R> {}

/// What to do after [`run`].
enum Next {
    Again,
    /// The actor has ended.
    End,
}

/// Writes pending output, polls the actor unless too much is still pending, and writes its new output.
fn run<A: Actor<Context = SocketContext<A>>>(
    io: &TcpStream,
    slow_client: Duration,
    actor: &mut ContextFut<A, SocketContext<A>>,
    pending: &mut Option<Box<Pending>>,
    cx: &mut TaskContext<'_>,
) -> Poll<Result<Next, Terminated>> {
    let high_water = actor.ctx().high_water;
    if let Some(rest) = actor.ctx().direct().map(|direct| direct.take_rest()).filter(|rest| !rest.is_empty())
    {
        // Direct writes happen only while nothing is pending, so this comes first.
        actor.ctx().add_unflushed(rest.len());
        pending.get_or_insert_with(|| Box::new(Pending::new(Vec::new(), slow_client))).bytes.extend(rest);
    }
    if let Some(waiting) = pending {
        match waiting.flush(io, cx) {
            Poll::Ready(Ok(())) => {
                *pending = None;
                actor.ctx().flushed();
            }
            Poll::Ready(Err(cut)) => {
                actor.ctx().cut = cut;
                return Poll::Ready(Err(Terminated));
            }
            Poll::Pending if waiting.len() >= high_water => return Poll::Pending,
            Poll::Pending => {}
        }
    }
    let (output, ended) = poll_actor(actor, cx);
    let paused = output.len() >= high_water;
    let written = if pending.is_some() { 0 } else { write(io, &output, cx)? };
    match pending {
        Some(waiting) => waiting.bytes.extend_from_slice(&output),
        None if written == output.len() => actor.ctx().flushed(),
        None => *pending = Some(Box::new(Pending::new(output[written..].to_vec(), slow_client))),
    }
    give_back(output);
    if ended {
        return Poll::Ready(Ok(Next::End));
    }
    if let Some(waiting) = pending
        && waiting.poll_deadline(io, cx)
    {
        actor.ctx().cut = Some(Close::TooSlow);
        return Poll::Ready(Err(Terminated));
    }
    // At the high-water mark the actor pauses itself, and only this task can wake it.
    if paused && pending.is_none() { Poll::Ready(Ok(Next::Again)) } else { Poll::Pending }
}

/// Polls the actor with the thread's output buffer. Returns its output, and whether it has stopped.
fn poll_actor<A: Actor<Context = SocketContext<A>>>(
    actor: &mut ContextFut<A, SocketContext<A>>,
    cx: &mut TaskContext<'_>,
) -> (OutputBuffer, bool) {
    actor.ctx().out = Some(take_output());
    let ended = Pin::new(&mut *actor).poll(cx).is_ready();
    (actor.ctx().out.take().unwrap_or_default(), ended)
}

fn await_close<A: Actor<Context = SocketContext<A>>>(io: &TcpStream) -> Result<SocketState<A>, Terminated> {
    socket2::SockRef::from(io).shutdown(std::net::Shutdown::Write).map_err(|_| Terminated)?;
    Ok(SocketState::AwaitingClose { timer: Box::pin(sleep(CLOSE_TIMEOUT)), discarded: 0 })
}

/// Writes as much as the kernel accepts. If that is not everything, the task is woken when the socket becomes
/// writable.
fn write(io: &TcpStream, bytes: &[u8], cx: &mut TaskContext<'_>) -> Result<usize, Terminated> {
    let mut written = 0;
    while written < bytes.len() {
        match io.try_write(&bytes[written..]) {
            Ok(n) => {
                written += n;
                count(&SENT, n);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => match io.poll_write_ready(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(Terminated),
            },
            Err(_) => return Err(Terminated),
        }
    }
    Ok(written)
}

impl Pending {
    fn new(bytes: Vec<u8>, slow_client: Duration) -> Self {
        Pending { bytes, written: 0, stall: Stall::new(slow_client) }
    }

    /// Bytes not yet written.
    fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Continues writing. An error ends the socket: `Some` if the peer was too slow.
    fn flush(&mut self, io: &TcpStream, cx: &mut TaskContext<'_>) -> Poll<Result<(), Option<Close>>> {
        let written = write(io, &self.bytes[self.written..], cx).map_err(|Terminated| None)?;
        self.written += written;
        if self.len() == 0 {
            return Poll::Ready(Ok(()));
        }
        if written > 0 {
            self.stall.restart();
        }
        if self.written >= self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        if self.poll_deadline(io, cx) { Poll::Ready(Err(Some(Close::TooSlow))) } else { Poll::Pending }
    }

    /// Returns true if the write timeout has expired; otherwise the task is woken for the next check.
    fn poll_deadline(&mut self, io: &TcpStream, cx: &mut TaskContext<'_>) -> bool {
        let is_over = self.stall.poll(io, cx);
        if is_over {
            // The peer does not read, so the kernel must not keep the unsent data.
            let _ = socket2::SockRef::from(io).set_linger(Some(Duration::ZERO));
        }
        is_over
    }
}
