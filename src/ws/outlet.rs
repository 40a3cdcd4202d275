//! What a session pushes through to one reader, and how much of it may be on its way. A window,
//! which works across threads, bounds it; on the reader's own thread a line saves the way through
//! its mailbox: while nothing is waiting, a frame goes straight to the socket.
use super::{
    connection::{Connection, Push, SessionLost},
    context::write_frame,
    session_actor::{ReaderReady, SessionActor},
    socket,
};
use crate::{
    chat::ReaderId,
    protocol::{Codec, ServerFrame},
    session::Outgoing,
};
use actix::{Addr, dev::SendError};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::Waker,
};
use tokio::net::TcpStream;

/// The session's end.
pub struct Outlet {
    connection: Addr<Connection>,
    window: Arc<Window>,
    line: Rc<Line>,
}

impl Outlet {
    pub fn new(connection: Addr<Connection>, window: Arc<Window>, line: Rc<Line>) -> Self {
        Outlet { connection, window, line }
    }

    /// Sends, or gives the word back when the reader cannot take it; then, and with `ask`, the
    /// session gets [`ReaderReady`] when what is on its way has been written.
    pub fn try_push(&self, outgoing: Outgoing, ask: bool) -> Result<(), Outgoing> {
        if !ask
            && self.window.is_clear()
            && let Outgoing::Frame(frame) = &outgoing
            && self.line.is_free()
        {
            self.window.add(self.line.write(frame));
            return Ok(());
        }
        // Also what has no text costs something: a clear window is one with nothing on its way.
        let cost = match &outgoing {
            Outgoing::Frame(frame) => frame.text_bytes().max(1),
            Outgoing::Close(_) => 1,
        };
        if ask {
            self.window.ask();
        }
        if !self.window.take(cost) {
            return Err(outgoing);
        }
        let refused = match self.connection.try_send(Push { outgoing, cost }) {
            Ok(()) | Err(SendError::Closed(_)) => return Ok(()), // Its `Detach` is on the way.
            Err(SendError::Full(push)) => push,
        };
        self.window.ask();
        // The connection may have emptied its mailbox before it could see that we ask.
        match self.connection.try_send(refused) {
            Ok(()) | Err(SendError::Closed(_)) => Ok(()),
            Err(SendError::Full(push)) => {
                self.window.give_back(cost);
                Err(push.outgoing)
            }
        }
    }

    /// The session is no more.
    pub fn lose(&self) {
        // A new address has a place of its own in the mailbox: this is never refused.
        let _ = self.connection.clone().try_send(SessionLost);
    }
}

/// How much one reader may still take, shared by the session that pushes and the connection that
/// writes.
pub struct Window {
    session: Addr<SessionActor>,
    reader: ReaderId,
    /// Cost of pushes that were sent and are not yet with the kernel.
    unflushed: AtomicUsize,
    /// The session was refused and wants to hear when there is room.
    hungry: AtomicBool,
    limit: usize,
}

impl Window {
    pub fn new(session: Addr<SessionActor>, reader: ReaderId, limit: usize) -> Self {
        Window { session, reader, unflushed: AtomicUsize::new(0), hungry: AtomicBool::new(false), limit }
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

    /// Takes room for a push, unless the reader is behind already. One push may go beyond the
    /// limit, so that the bound is the limit and one push.
    fn take(&self, cost: usize) -> bool {
        let has_room = || self.unflushed.load(SeqCst) < self.limit;
        if !has_room() {
            self.hungry.store(true, SeqCst);
            // The connection may have flushed in between, and then it saw no hunger.
            if !has_room() {
                return false;
            }
        }
        self.add(cost);
        true
    }

    /// A push was refused by the mailbox.
    fn give_back(&self, cost: usize) {
        self.unflushed.fetch_sub(cost, SeqCst);
    }

    /// From now on [`Window::release`] sends [`ReaderReady`] once.
    fn ask(&self) {
        self.hungry.store(true, SeqCst);
    }

    /// For the connection: pushes of this cost are with the kernel.
    pub(super) fn release(&self, cost: usize) {
        if cost > 0 {
            self.unflushed.fetch_sub(cost, SeqCst);
        }
        if self.hungry.load(SeqCst) && self.hungry.swap(false, SeqCst) {
            // A new address has a place of its own in the mailbox: this is never refused.
            let _ = self.session.clone().try_send(ReaderReady { reader: self.reader });
        }
    }
}

/// The socket, as a session of the same thread may use it between two polls of the socket's task.
pub struct Line {
    io: Rc<TcpStream>,
    codec: Codec,
    /// The socket's task has something to write first, or has written its close frame.
    blocked: Cell<bool>,
    /// What the kernel did not take of a frame: the task writes it before anything else.
    rest: RefCell<Vec<u8>>,
    task: RefCell<Option<Waker>>,
}

impl Line {
    /// Blocked until the socket's task has been here.
    pub fn new(io: Rc<TcpStream>, codec: Codec) -> Self {
        Line { io, codec, blocked: Cell::new(true), rest: RefCell::default(), task: RefCell::default() }
    }

    fn is_free(&self) -> bool {
        !self.blocked.get()
    }

    /// Writes a frame; how many bytes of it are left to the socket's task.
    fn write(&self, frame: &ServerFrame) -> usize {
        let mut bytes = socket::OUT.take();
        self.codec.speller(None).spell(frame, |text| write_frame(&mut bytes, 1, text.as_bytes()));
        // An error is the task's to notice: it reads the same socket.
        let written = if bytes.is_empty() { 0 } else { self.io.try_write(&bytes).unwrap_or(0) };
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
