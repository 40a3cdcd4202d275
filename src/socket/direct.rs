//! The short way to a socket for senders on its own thread: while nothing is waiting, a frame goes straight to
//! the kernel.
use super::frame::{OUT, SENT, count, give_back};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::Waker,
};
use tokio::net::TcpStream;

/// The socket, as sessions of the same thread may use it between two polls of the socket's task.
pub struct DirectWriter {
    io: Rc<TcpStream>,
    /// The socket's task has something to write first, or has written its close frame.
    blocked: Cell<bool>,
    /// What the kernel did not take of a frame: the task writes it before anything else.
    rest: RefCell<Vec<u8>>,
    task: RefCell<Option<Waker>>,
}

impl DirectWriter {
    /// Blocked until the socket's task has been here.
    pub fn new(io: Rc<TcpStream>) -> Self {
        DirectWriter { io, blocked: Cell::new(true), rest: RefCell::default(), task: RefCell::default() }
    }

    pub fn is_free(&self) -> bool {
        !self.blocked.get()
    }

    /// Writes the frames that `spell` appends; how many bytes of them are left to the socket's task.
    pub fn write(&self, spell: impl FnOnce(&mut Vec<u8>)) -> usize {
        let mut bytes = OUT.take();
        spell(&mut bytes);
        // An error is the task's to notice: it reads the same socket.
        let written = if bytes.is_empty() { 0 } else { self.io.try_write(&bytes).unwrap_or(0) };
        count(&SENT, written);
        let left = bytes.len() - written;
        if left > 0 {
            self.rest.borrow_mut().extend_from_slice(&bytes[written..]);
            self.block();
            if let Some(task) = &*self.task.borrow() {
                task.wake_by_ref();
            }
        }
        give_back(bytes);
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
