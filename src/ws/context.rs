//! Our own actor context over a socket that was taken over, and the task that drives both.
//!
//! It leans on `actix::dev::{ContextParts, ContextFut, Mailbox}`, public but thinly documented; the
//! tests in `ws::tests` hold what is relied on, and actix is pinned exactly.
//!
//! **Invariant:** while `high_water` bytes wait for the peer, the actor is not polled: it takes no
//! message and reads no frame, its mailbox fills and refuses, and nothing is buffered beyond that.
//! The write deadline does not need the actor: it is the driver's own, and exists only while
//! something waits to be written.
use super::window::Window;
use crate::protocol::Close;
use actix::{
    dev::{AsyncContextParts, ContextFut, ContextParts, Envelope, Mailbox, ToEnvelope},
    prelude::*,
};
use std::{
    cell::RefCell,
    future::Future,
    io::ErrorKind,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::oneshot,
    time::{Instant, Sleep, sleep},
};

/// Reads that are discarded while the peer answers our close.
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// How long the peer has to answer our close.
const LINGER: Duration = Duration::from_secs(1);
/// Rounds of one wake before other tasks of the thread get their turn.
const ROUNDS_MAX: usize = 8;

thread_local! {
    /// The thread's output buffer, lent to a context for one poll: an idle socket has none.
    static OUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The thread's input buffer.
    pub(super) static IN: RefCell<Vec<u8>> = RefCell::new(vec![0; 16 * 1024]);
}

/// Bounds of a socket's output.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes waiting for the peer beyond which the actor stands still.
    pub high_water: usize,
    /// How long a write may make no progress.
    pub slow_client: Duration,
}

pub struct SocketContext<A: Actor<Context = Self>> {
    parts: ContextParts<A>,
    /// Frames of this poll.
    out: Vec<u8>,
    high_water: usize,
    /// A close frame was written; nothing may follow it.
    closed: bool,
    /// Why the driver ended the socket.
    cut: Option<Close>,
    window: Option<Arc<Window>>,
    /// Cost of the pushes whose bytes are not yet with the kernel.
    unflushed: usize,
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

    /// Also true at the high-water mark, which makes the mailbox and the frame stream pause.
    fn waiting(&self) -> bool {
        self.parts.waiting() || self.out.len() >= self.high_water
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
    /// Writes a text message.
    pub fn text(&mut self, text: &str) {
        self.frame(1, text.as_bytes());
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

    /// Answers a close frame with its own code and stops the actor.
    pub fn close_with(&mut self, code: u16, reason: &str) {
        let mut payload = [0; 64];
        let length = reason.len().min(payload.len() - 2);
        payload[..2].copy_from_slice(&code.to_be_bytes());
        payload[2..2 + length].copy_from_slice(&reason.as_bytes()[..length]);
        self.frame(8, &payload[..2 + length]);
        self.closed = true;
        self.parts.stop();
    }

    /// Why the driver cut the socket, once it has.
    pub fn cut(&self) -> Option<Close> {
        self.cut
    }

    /// From now on pushes come through this window.
    pub fn open_window(&mut self, window: Arc<Window>) {
        self.window = Some(window);
    }

    /// A push of this cost was taken; the window learns when it has been written.
    pub fn taken(&mut self, cost: usize) {
        self.unflushed += cost;
    }

    /// An unfragmented, unmasked frame (RFC 6455 §5.2).
    fn frame(&mut self, opcode: u8, payload: &[u8]) {
        if self.closed {
            return;
        }
        self.out.push(0x80 | opcode);
        match payload.len() {
            length @ 0..=125 => self.out.push(length as u8),
            length @ 126..=0xffff => {
                self.out.push(126);
                self.out.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                self.out.push(127);
                self.out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        self.out.extend_from_slice(payload);
    }

    /// Everything that was taken is with the kernel.
    fn flushed(&mut self) {
        if let Some(window) = &self.window {
            window.release(std::mem::take(&mut self.unflushed));
        }
    }
}

/// The task of one socket: polls the actor, writes what it said, and sees the socket to its end.
pub struct Socket<A: Actor<Context = SocketContext<A>>, K = ()> {
    io: Rc<TcpStream>,
    slow_client: Duration,
    state: State<A>,
    /// Dropped when the socket is closed, which may be later than the actor's end.
    _kept: K,
}

#[expect(clippy::large_enum_variant, reason = "the large variant is the one that there are thousands of")]
enum State<A: Actor<Context = SocketContext<A>>> {
    Running {
        actor: ContextFut<A, SocketContext<A>>,
        pending: Option<Box<Pending>>,
    },
    /// The actor has ended; what it said last is written.
    Flushing(Box<Pending>),
    /// Our side is closed; the peer has a moment to close its own.
    Lingering {
        timer: Pin<Box<Sleep>>,
        discarded: usize,
    },
}

/// Bytes that the kernel did not take, and until when it must take some.
struct Pending {
    bytes: Vec<u8>,
    written: usize,
    deadline: Pin<Box<Sleep>>,
}

/// The socket is of no use any more.
struct Gone;

impl<A: Actor<Context = SocketContext<A>>, K> Socket<A, K> {
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
        let mut ctx = SocketContext {
            parts: ContextParts::new(mailbox.sender_producer()),
            out: Vec::new(),
            high_water: bounds.high_water,
            closed: false,
            cut: None,
            window: None,
            unflushed: 0,
        };
        let actor = make(&mut ctx);
        let pending = Some(Box::new(Pending::new(head, bounds.slow_client)));
        let state = State::Running { actor: ContextFut::new(ctx, actor, mailbox), pending };
        Socket { io, slow_client: bounds.slow_client, state, _kept: kept }
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
                        // Without a close frame there is nobody to say goodbye to.
                        None if actor.ctx().closed => lingering(io)?,
                        None => return Poll::Ready(Err(Gone)),
                    };
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(Gone)) => Poll::Ready(Err(Gone)),
                Poll::Pending => Poll::Pending,
            },
            State::Flushing(waiting) => {
                ready!(waiting.flush(io, cx, slow_client)).map_err(|_| Gone)?;
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

impl<A: Actor<Context = SocketContext<A>>, K> Future for Socket<A, K> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..ROUNDS_MAX {
            if ready!(this.step(cx)).is_err() {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

// `ContextFut` is used without pinning; nothing here is self-referential.
impl<A: Actor<Context = SocketContext<A>>, K> Unpin for Socket<A, K> {}

/// What a running socket does next.
enum Next {
    Again,
    /// The actor has ended.
    End,
}

/// Writes what waits, lets the actor speak unless too much waits still, and writes what it said.
fn run<A: Actor<Context = SocketContext<A>>>(
    io: &TcpStream,
    slow_client: Duration,
    actor: &mut ContextFut<A, SocketContext<A>>,
    pending: &mut Option<Box<Pending>>,
    cx: &mut TaskContext<'_>,
) -> Poll<Result<Next, Gone>> {
    let high_water = actor.ctx().high_water;
    if let Some(waiting) = pending {
        match waiting.flush(io, cx, slow_client) {
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
    let (said, ended) = speak(actor, cx);
    let paused = said.len() >= high_water;
    let written = if pending.is_some() { 0 } else { write(io, &said, cx)? };
    match pending {
        Some(waiting) => waiting.bytes.extend_from_slice(&said),
        None if written == said.len() => actor.ctx().flushed(),
        None => *pending = Some(Box::new(Pending::new(said[written..].to_vec(), slow_client))),
    }
    give_back(said);
    if ended {
        return Poll::Ready(Ok(Next::End));
    }
    if let Some(waiting) = pending
        && waiting.poll_deadline(cx)
    {
        actor.ctx().cut = Some(Close::TooSlow);
        return Poll::Ready(Err(Gone));
    }
    // At the high-water mark the actor paused by itself, with nobody to wake it but us.
    if paused && pending.is_none() { Poll::Ready(Ok(Next::Again)) } else { Poll::Pending }
}

/// Polls the actor with the thread's buffer; what it said, and whether it has ended.
fn speak<A: Actor<Context = SocketContext<A>>>(
    actor: &mut ContextFut<A, SocketContext<A>>,
    cx: &mut TaskContext<'_>,
) -> (Vec<u8>, bool) {
    actor.ctx().out = OUT.take();
    let ended = Pin::new(&mut *actor).poll(cx).is_ready();
    (std::mem::take(&mut actor.ctx().out), ended)
}

/// The buffer goes back to the thread, unless one large answer has made it large.
fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() <= 256 * 1024 {
        buffer.clear();
        OUT.set(buffer);
    }
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
            Ok(n) => written += n,
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
        Pending { bytes, written: 0, deadline: Box::pin(sleep(slow_client)) }
    }

    /// Bytes still to be written.
    fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Writes on. An error is the end: `Some` when the peer was too slow.
    fn flush(
        &mut self,
        io: &TcpStream,
        cx: &mut TaskContext<'_>,
        slow_client: Duration,
    ) -> Poll<Result<(), Option<Close>>> {
        let written = write(io, &self.bytes[self.written..], cx).map_err(|Gone| None)?;
        self.written += written;
        if self.len() == 0 {
            return Poll::Ready(Ok(()));
        }
        if written > 0 {
            self.deadline.as_mut().reset(Instant::now() + slow_client);
        }
        if self.written >= self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        if self.poll_deadline(cx) { Poll::Ready(Err(Some(Close::TooSlow))) } else { Poll::Pending }
    }

    /// Whether the time is up; otherwise the task is woken when it is.
    fn poll_deadline(&mut self, cx: &mut TaskContext<'_>) -> bool {
        self.deadline.as_mut().poll(cx).is_ready()
    }
}
