//! Writes frames of senders on a socket's own thread directly to the kernel while no output is pending.
use super::frame::{SENT, count, give_back, take_output};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::Waker,
};
use tokio::net::TcpStream;

/// A socket that sessions of the same thread write to between two polls of the socket's task.
pub struct DirectWriter {
    io: Rc<TcpStream>,
    /// The socket's task has output pending, or has written its close frame.
    blocked: Cell<bool>,
    /// The part of a frame that the kernel did not accept: the task writes it before anything else.
    rest: RefCell<Vec<u8>>,
    task: RefCell<Option<Waker>>,
}

impl DirectWriter {
    /// Blocked until the first poll of the socket's task.
    pub fn new(io: Rc<TcpStream>) -> Self {
        DirectWriter { io, blocked: Cell::new(true), rest: RefCell::default(), task: RefCell::default() }
    }

    pub fn is_free(&self) -> bool {
        !self.blocked.get()
    }

    /// Writes the frames that `encode` appends. Returns how many bytes are left to the socket's task.
    pub fn write(&self, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        let mut bytes = take_output();
        encode(&mut bytes);
        // Errors are handled by the socket's task, which reads the same socket.
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

    /// Takes the bytes that the socket's task has to write first.
    pub(super) fn take_rest(&self) -> Vec<u8> {
        self.rest.take()
    }

    /// Called by the socket's task at the end of its poll.
    pub(super) fn settle(&self, blocked: bool, task: &Waker) {
        self.blocked.set(blocked);
        let mut stored = self.task.borrow_mut();
        if !stored.as_ref().is_some_and(|stored| stored.will_wake(task)) {
            *stored = Some(task.clone());
        }
    }
}
