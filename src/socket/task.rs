//! The task of one socket that was taken over: drives its actor, and sees the socket to its end.
//!
//! It leans on `actix::dev::{ContextFut, Mailbox}`, public but thinly documented; the tests in
//! `socket::tests` hold what is relied on, and actix is pinned exactly.
//!
//! **Invariant:** while `high_water` bytes wait for the peer, the actor is not polled: it takes no
//! message and reads no frame, its mailbox fills and refuses, and nothing is buffered beyond that.
//! The write deadline does not need the actor: it is the socket's own, and exists only while
//! something waits to be written.
use super::{
    context::SocketContext,
    frame::{IN, OUT, SENT, count, give_back},
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

/// Bytes discarded while the peer answers our close; a peer that sends more is cut off.
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// How long the peer has to answer our close.
const LINGER: Duration = Duration::from_secs(1);
/// Multiple of the write timeout that the kernel may keep unsent data after an orderly close.
const ORPHANED: u32 = 2;
/// Rounds of one wake before other tasks of the thread get their turn.
const ROUNDS_MAX: usize = 8;

/// Bounds of a socket's output.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes waiting for the peer beyond which the actor stands still.
    pub high_water: usize,
    /// How long a write may make no progress.
    pub slow_client: Duration,
}

/// What lives as long as a socket is open, and learns what waits for the peer.
pub trait Kept {
    /// So many bytes are held for the peer. Called after every poll.
    fn waits(&mut self, bytes: usize);
}

impl Kept for () {
    fn waits(&mut self, _: usize) {}
}

/// The task of one socket: polls the actor, writes what it sent, and closes the socket.
pub struct Socket<A: Actor<Context = SocketContext<A>>, K: Kept = ()> {
    io: Rc<TcpStream>,
    slow_client: Duration,
    state: State<A>,
    /// Dropped when the socket is closed, which may be later than the actor's end.
    kept: K,
}

#[expect(clippy::large_enum_variant, reason = "the large variant is the one that there are thousands of")]
enum State<A: Actor<Context = SocketContext<A>>> {
    Running {
        actor: ContextFut<A, SocketContext<A>>,
        pending: Option<Box<Pending>>,
    },
    /// The actor has ended; its last output is being written.
    Flushing(Box<Pending>),
    /// Our side is closed; the peer has a moment to close its own.
    Lingering {
        timer: Pin<Box<Sleep>>,
        discarded: usize,
    },
}

/// Bytes that the kernel did not take, and until when the peer must take some.
struct Pending {
    bytes: Vec<u8>,
    written: usize,
    stall: Stall,
}

/// The socket is of no use any more.
struct Gone;

impl<A: Actor<Context = SocketContext<A>>, K: Kept> Socket<A, K> {
    /// A socket whose first bytes out are `head`. `make` gets the context to add its frame stream;
    /// `kept` lives as long as the socket is open.
    pub fn new(
        io: Rc<TcpStream>,
        head: Vec<u8>,
        bounds: Bounds,
        kept: K,
        make: impl FnOnce(&mut SocketContext<A>) -> A,
    ) -> Self {
        let mailbox = Mailbox::default();
        let mut ctx = SocketContext::new(&mailbox, bounds.high_water);
        let actor = make(&mut ctx);
        let pending = Some(Box::new(Pending::new(head, bounds.slow_client)));
        let state = State::Running { actor: ContextFut::new(ctx, actor, mailbox), pending };
        Socket { io, slow_client: bounds.slow_client, state, kept }
    }

    /// Lets the session write to the socket directly while nothing waits to be written here.
    fn settle_direct(&mut self, cx: &mut TaskContext<'_>) {
        let State::Running { actor, pending } = &mut self.state else { return };
        let ctx = actor.ctx();
        if let Some(direct) = &ctx.direct {
            direct.settle(pending.is_some() || ctx.closed, cx.waker());
        }
    }

    /// One step towards the end. `Ready(Ok(()))` asks for another.
    fn step(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Gone>> {
        let (io, slow_client) = (&*self.io, self.slow_client);
        match &mut self.state {
            State::Running { actor, pending } => match run(io, slow_client, actor, pending, cx) {
                Poll::Ready(Ok(Next::Again)) => Poll::Ready(Ok(())),
                Poll::Ready(Ok(Next::End)) => {
                    self.state = match pending.take() {
                        Some(waiting) => State::Flushing(waiting),
                        // Without a close frame there is no close handshake to wait for.
                        None if actor.ctx().closed => lingering(io)?,
                        None => return Poll::Ready(Err(Gone)),
                    };
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(Gone)) => Poll::Ready(Err(Gone)),
                Poll::Pending => Poll::Pending,
            },
            State::Flushing(waiting) => {
                ready!(waiting.flush(io, cx)).map_err(|_| Gone)?;
                self.state = lingering(io)?;
                Poll::Ready(Ok(()))
            }
            State::Lingering { timer, discarded } => {
                if timer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(Gone));
                }
                ready!(io.poll_read_ready(cx)).map_err(|_| Gone)?;
                match IN.with_borrow_mut(|buffer| io.try_read(buffer)) {
                    Ok(read) if read > 0 && *discarded + read <= LINGER_BYTES_MAX => *discarded += read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // The peer has closed its side too, or does not want to.
                    Ok(_) | Err(_) => return Poll::Ready(Err(Gone)),
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<A: Actor<Context = SocketContext<A>>, K: Kept> Future for Socket<A, K> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut rounds = 0;
        let step = loop {
            match this.step(cx) {
                Poll::Ready(Ok(())) if rounds < ROUNDS_MAX => rounds += 1,
                step => break step,
            }
        };
        match step {
            Poll::Ready(Err(Gone)) => {
                // The peer may read what the kernel still holds, but only for so long: no task watches it now.
                let rest = Some(this.slow_client * ORPHANED);
                let _ = socket2::SockRef::from(&*this.io).set_tcp_user_timeout(rest);
                return Poll::Ready(());
            }
            Poll::Ready(Ok(())) => cx.waker().wake_by_ref(),
            Poll::Pending => {}
        }
        this.settle_direct(cx);
        let waiting = match &this.state {
            State::Running { pending: Some(pending), .. } | State::Flushing(pending) => {
                pending.bytes.capacity()
            }
            State::Running { pending: None, .. } | State::Lingering { .. } => 0,
        };
        this.kept.waits(waiting);
        Poll::Pending
    }
}

// `ContextFut` is used without pinning; nothing here is self-referential.
impl<A: Actor<Context = SocketContext<A>>, K: Kept> Unpin for Socket<A, K> {}

/// What a running socket does next.
enum Next {
    Again,
    /// The actor has ended.
    End,
}

/// Writes what is pending, polls the actor unless too much is still pending, and writes what it sent.
fn run<A: Actor<Context = SocketContext<A>>>(
    io: &TcpStream,
    slow_client: Duration,
    actor: &mut ContextFut<A, SocketContext<A>>,
    pending: &mut Option<Box<Pending>>,
    cx: &mut TaskContext<'_>,
) -> Poll<Result<Next, Gone>> {
    let high_water = actor.ctx().high_water;
    if let Some(rest) =
        actor.ctx().direct.as_ref().map(|direct| direct.take_rest()).filter(|rest| !rest.is_empty())
    {
        // It is used only while nothing is pending.
        actor.ctx().taken(rest.len());
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
                return Poll::Ready(Err(Gone));
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
        return Poll::Ready(Err(Gone));
    }
    // At the high-water mark the actor paused by itself, and only this task can wake it.
    if paused && pending.is_none() { Poll::Ready(Ok(Next::Again)) } else { Poll::Pending }
}

/// Polls the actor with the thread's buffer: its output, and whether it has ended.
fn poll_actor<A: Actor<Context = SocketContext<A>>>(
    actor: &mut ContextFut<A, SocketContext<A>>,
    cx: &mut TaskContext<'_>,
) -> (Vec<u8>, bool) {
    actor.ctx().out = OUT.take();
    let ended = Pin::new(&mut *actor).poll(cx).is_ready();
    (std::mem::take(&mut actor.ctx().out), ended)
}

fn lingering<A: Actor<Context = SocketContext<A>>>(io: &TcpStream) -> Result<State<A>, Gone> {
    socket2::SockRef::from(io).shutdown(std::net::Shutdown::Write).map_err(|_| Gone)?;
    Ok(State::Lingering { timer: Box::pin(sleep(LINGER)), discarded: 0 })
}

/// Writes as much as the kernel takes. Where that is not all, the task is woken when it takes more.
fn write(io: &TcpStream, bytes: &[u8], cx: &mut TaskContext<'_>) -> Result<usize, Gone> {
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
                Poll::Ready(Err(_)) => return Err(Gone),
            },
            Err(_) => return Err(Gone),
        }
    }
    Ok(written)
}

impl Pending {
    fn new(bytes: Vec<u8>, slow_client: Duration) -> Self {
        Pending { bytes, written: 0, stall: Stall::new(slow_client) }
    }

    /// Bytes still to be written.
    fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Writes on. An error is the end: `Some` when the peer was too slow.
    fn flush(&mut self, io: &TcpStream, cx: &mut TaskContext<'_>) -> Poll<Result<(), Option<Close>>> {
        let written = write(io, &self.bytes[self.written..], cx).map_err(|Gone| None)?;
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

    /// Whether the time is up; otherwise the task is woken for the next look.
    fn poll_deadline(&mut self, io: &TcpStream, cx: &mut TaskContext<'_>) -> bool {
        let is_over = self.stall.poll(io, cx);
        if is_over {
            // Nobody reads what the kernel holds: it is not to keep it.
            let _ = socket2::SockRef::from(io).set_linger(Some(Duration::ZERO));
        }
        is_over
    }
}
