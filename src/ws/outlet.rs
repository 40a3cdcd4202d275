//! What a session pushes through to one reader, and how much of it may be on its way. A window,
//! which works across threads, bounds what waits for a socket, whoever pushes; on the socket's own
//! thread a line saves the way through its mailbox: while nothing is waiting, a frame goes straight to
//! the socket. Across threads a push is bytes.
use super::{
    connection::{Connection, Push, Released, SessionLost},
    context::write_frame,
    session_actor::{ReaderReady, SessionActor},
    socket,
};
use crate::{
    chat::ReaderId,
    protocol::{ServerFrame, Speller},
    session::Outgoing,
};
use actix::{Addr, AsyncContext as _, Context, dev::SendError};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::Waker,
};
use tokio::net::TcpStream;

/// The session's end of the way to one reader.
pub struct Outlet {
    connection: Addr<Connection>,
    window: Arc<Window>,
    /// Where the socket is of the session's own thread.
    line: Option<Rc<Line>>,
    speller: Speller,
}

impl Outlet {
    pub fn new(
        connection: Addr<Connection>,
        window: Arc<Window>,
        line: Option<Rc<Line>>,
        speller: Speller,
    ) -> Self {
        Outlet { connection, window, line, speller }
    }

    /// Sends, or gives the word back when the reader cannot take it; then, and with `ask`, the
    /// session gets [`ReaderReady`] when what is on its way has been written.
    pub fn try_push(
        &mut self,
        ctx: &Context<SessionActor>,
        reader: ReaderId,
        outgoing: Outgoing,
        ask: bool,
    ) -> Result<(), Outgoing> {
        if !ask
            && self.window.is_clear()
            && let Outgoing::Frame(frame) = &outgoing
            && let Some(line) = &self.line
            && line.is_free()
        {
            self.window.add(line.write(frame, &mut self.speller));
            return Ok(());
        }
        let hungry = || Hungry { session: ctx.address(), reader };
        if ask {
            self.window.ask(hungry());
        }
        if !self.window.has_room(hungry) {
            return Err(outgoing);
        }
        let before = self.speller.clone();
        let (mut frames, mut close) = (Vec::new(), None);
        match &outgoing {
            Outgoing::Frame(frame) => spell(&mut self.speller, frame, &mut frames),
            Outgoing::Close(why) => close = Some(*why),
        }
        if frames.is_empty() && close.is_none() && !ask {
            return Ok(()); // The dialect has no spelling for it.
        }
        // Also what has no text costs something: a clear window is one with nothing on its way.
        let cost = frames.len().max(1);
        self.window.add(cost);
        let refused = match self.connection.try_send(Push { frames, close, cost }) {
            Ok(()) | Err(SendError::Closed(_)) => return Ok(()), // Its `Detach` is on the way.
            Err(SendError::Full(push)) => push,
        };
        self.window.ask(hungry());
        // The connection may have emptied its mailbox before it could see that we ask.
        match self.connection.try_send(refused) {
            Ok(()) | Err(SendError::Closed(_)) => Ok(()),
            Err(SendError::Full(_)) => {
                self.window.give_back(cost);
                self.speller = before; // It was not said.
                Err(outgoing)
            }
        }
    }

    /// The reader has been told all that it came for.
    pub fn release(self, reader: ReaderId) {
        // A new address has a place of its own in the mailbox: this is never refused.
        let _ = self.connection.clone().try_send(Released { reader });
    }

    /// The session is no more.
    pub fn lose(&self, reader: ReaderId) {
        let _ = self.connection.clone().try_send(SessionLost { reader }); // Likewise.
    }
}

fn spell(speller: &mut Speller, frame: &ServerFrame, into: &mut Vec<u8>) {
    speller.spell(frame, |text| write_frame(into, 1, text.as_bytes()));
}

/// How much one socket may still take, shared by the sessions that push and the connection that
/// writes.
pub struct Window {
    /// Cost of pushes that were sent and are not yet with the kernel.
    unflushed: AtomicUsize,
    /// Somebody in the list wants to hear when there is room.
    any_hungry: AtomicBool,
    limit: usize,
    /// Those who were refused, each once: at most as many as read on this socket.
    hungry: Mutex<Vec<Hungry>>,
}

/// A reader that is behind, and its session.
struct Hungry {
    session: Addr<SessionActor>,
    reader: ReaderId,
}

impl Window {
    pub fn new(limit: usize) -> Self {
        Window {
            unflushed: AtomicUsize::new(0),
            any_hungry: AtomicBool::new(false),
            limit,
            hungry: Mutex::default(),
        }
    }

    /// Nothing is on its way.
    fn is_clear(&self) -> bool {
        self.unflushed.load(SeqCst) == 0
    }

    fn add(&self, cost: usize) {
        if cost > 0 {
            self.unflushed.fetch_add(cost, SeqCst);
        }
    }

    /// Whether there is room for a push; otherwise `hungry` is asked for. One push of each session may
    /// go beyond the limit, so that the bound is the limit and one push for each thread.
    fn has_room(&self, hungry: impl FnOnce() -> Hungry) -> bool {
        let has_room = || self.unflushed.load(SeqCst) < self.limit;
        if has_room() {
            return true;
        }
        self.ask(hungry());
        // The connection may have flushed in between, and then it saw no hunger.
        has_room()
    }

    /// A push was refused by the mailbox.
    fn give_back(&self, cost: usize) {
        self.unflushed.fetch_sub(cost, SeqCst);
    }

    /// The next [`Window::release`] sends [`ReaderReady`] once.
    fn ask(&self, hungry: Hungry) {
        let mut list = self.list();
        if list.iter().all(|known| known.reader != hungry.reader) {
            list.push(hungry);
        }
        drop(list);
        self.any_hungry.store(true, SeqCst);
    }

    /// For the connection: pushes of this cost are with the kernel.
    pub(super) fn release(&self, cost: usize) {
        if cost > 0 {
            self.unflushed.fetch_sub(cost, SeqCst);
        }
        if self.any_hungry.load(SeqCst) && self.any_hungry.swap(false, SeqCst) {
            // In the order of their coming: who is refused again waits behind the others.
            for Hungry { session, reader } in std::mem::take(&mut *self.list()) {
                // The address is new, so it has a place of its own in the mailbox: this is never refused.
                let _ = session.try_send(ReaderReady { reader });
            }
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Hungry>> {
        self.hungry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The socket, as sessions of the same thread may use it between two polls of the socket's task.
pub struct Line {
    io: Rc<TcpStream>,
    /// The socket's task has something to write first, or has written its close frame.
    blocked: Cell<bool>,
    /// What the kernel did not take of a frame: the task writes it before anything else.
    rest: RefCell<Vec<u8>>,
    task: RefCell<Option<Waker>>,
}

impl Line {
    /// Blocked until the socket's task has been here.
    pub fn new(io: Rc<TcpStream>) -> Self {
        Line { io, blocked: Cell::new(true), rest: RefCell::default(), task: RefCell::default() }
    }

    fn is_free(&self) -> bool {
        !self.blocked.get()
    }

    /// Writes a frame; how many bytes of it are left to the socket's task.
    fn write(&self, frame: &ServerFrame, speller: &mut Speller) -> usize {
        let mut bytes = socket::OUT.take();
        spell(speller, frame, &mut bytes);
        // An error is the task's to notice: it reads the same socket.
        let written = if bytes.is_empty() { 0 } else { self.io.try_write(&bytes).unwrap_or(0) };
        socket::count(&socket::SENT, written);
        let left = bytes.len() - written;
        if left > 0 {
            self.rest.borrow_mut().extend_from_slice(&bytes[written..]);
            self.block();
            if let Some(task) = &*self.task.borrow() {
                task.wake_by_ref();
            }
        }
        socket::give_back(bytes);
        left
    }

    pub(super) fn block(&self) {
        self.blocked.set(true);
    }

    /// For the socket's task: what it has to write first.
    pub(super) fn take_rest(&self) -> Vec<u8> {
        self.rest.take()
    }

    /// For the socket's task, at the end of its poll.
    pub(super) fn settle(&self, blocked: bool, task: &Waker) {
        self.blocked.set(blocked);
        let mut known = self.task.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(task)) {
            *known = Some(task.clone());
        }
    }
}
