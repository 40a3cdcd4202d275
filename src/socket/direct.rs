//! Writes frames of senders on a socket's own thread directly to the kernel while no output is pending.
//!
//! What the tasks of one turn of the event loop produce is collected and written together, when they have been polled: reads and
//! writes each find their code in the cache, and a client of many sockets is woken once for all of them.
use super::{
    frame::{SENT, count},
    window::SendWindow,
};
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    ops::Range,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Poll, Waker},
};
use tokio::net::TcpStream;

/// Frames that are collected before they are written at once.
const FRAMES_MAX: usize = 32;
/// Bytes that are collected before they are written at once.
const BYTES_MAX: usize = 16 * 1024;
/// Capacity above which the buffer of a queue is freed after use instead of kept.
const CAPACITY_MAX: usize = 256 * 1024;

/// A socket that sessions of the same thread write to between two polls of the socket's task.
pub struct DirectWriter {
    io: Rc<TcpStream>,
    window: Arc<SendWindow>,
    queue: Rc<WriteQueue>,
    /// Some of the queue's bytes are for this socket.
    queued: Cell<bool>,
    /// The socket's task has output pending, or has written its close frame.
    blocked: Cell<bool>,
    /// The part of a frame that the kernel did not accept: the task writes it before anything else.
    rest: RefCell<Vec<u8>>,
    task: RefCell<Option<Waker>>,
}

/// Frames for sockets of one thread that are written when the tasks that are ready now have been polled. One per thread.
#[derive(Default)]
pub struct WriteQueue {
    frames: RefCell<Frames>,
    /// Of the task that writes them; without one they are written at once.
    writer: RefCell<Option<Waker>>,
}

#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
    sockets: Vec<(Rc<DirectWriter>, Range<usize>)>,
}

impl WriteQueue {
    /// Writes the frames of each turn of the event loop, for as long as the queue exists.
    pub fn start(self: &Rc<Self>) {
        let queue: Weak<Self> = Rc::downgrade(self);
        actix::spawn(poll_fn(move |cx| {
            let Some(queue) = queue.upgrade() else { return Poll::Ready(()) };
            queue.flush();
            let mut writer = queue.writer.borrow_mut();
            if !writer.as_ref().is_some_and(|writer| writer.will_wake(cx.waker())) {
                *writer = Some(cx.waker().clone());
            }
            Poll::Pending
        }));
    }

    /// Writes everything.
    fn flush(&self) {
        let Frames { mut bytes, mut sockets } = self.frames.take();
        for (socket, range) in sockets.drain(..) {
            socket.write_now(&bytes[range]);
        }
        if bytes.capacity() <= CAPACITY_MAX {
            bytes.clear();
            *self.frames.borrow_mut() = Frames { bytes, sockets };
        }
    }
}

impl DirectWriter {
    /// Blocked until the first poll of the socket's task.
    pub fn new(io: Rc<TcpStream>, window: Arc<SendWindow>, queue: Rc<WriteQueue>) -> Self {
        DirectWriter {
            io,
            window,
            queue,
            queued: Cell::default(),
            blocked: Cell::new(true),
            rest: RefCell::default(),
            task: RefCell::default(),
        }
    }

    pub fn is_free(&self) -> bool {
        !self.blocked.get()
    }

    /// Writes the frames that `encode` appends, at the latest when the tasks that are ready now have been polled. What the kernel
    /// does not accept is charged to the socket's window and left to its task.
    pub fn write(self: &Rc<Self>, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut frames = self.queue.frames.borrow_mut();
        let start = frames.bytes.len();
        encode(&mut frames.bytes);
        let end = frames.bytes.len();
        if end == start {
            return;
        }
        self.queued.set(true);
        frames.sockets.push((Rc::clone(self), start..end));
        let (is_first, is_full) =
            (frames.sockets.len() == 1, frames.sockets.len() >= FRAMES_MAX || end >= BYTES_MAX);
        drop(frames);
        match &*self.queue.writer.borrow() {
            Some(writer) if !is_full => {
                if is_first {
                    writer.wake_by_ref();
                }
            }
            _ => self.queue.flush(),
        }
    }

    fn write_now(&self, bytes: &[u8]) {
        self.queued.set(false);
        // The rest of an earlier frame of the same batch comes first. Errors are handled by the socket's task, which reads the
        // same socket.
        let written = if self.is_free() { self.io.try_write(bytes).unwrap_or(0) } else { 0 };
        count(&SENT, written);
        let left = &bytes[written..];
        if !left.is_empty() {
            self.window.charge(left.len());
            self.rest.borrow_mut().extend_from_slice(left);
            self.block();
            if let Some(task) = &*self.task.borrow() {
                task.wake_by_ref();
            }
        }
    }

    pub(super) fn block(&self) {
        self.blocked.set(true);
    }

    /// Takes the bytes that the socket's task has to write first.
    pub(super) fn take_rest(&self) -> Vec<u8> {
        if self.queued.get() {
            self.queue.flush();
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
        task::yield_now,
    };

    /// A socket that is free, with the peer's end of it.
    async fn socket(queue: &Rc<WriteQueue>) -> (Rc<DirectWriter>, Arc<SendWindow>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let io = Rc::new(listener.accept().await.unwrap().0);
        io.writable().await.unwrap();
        let window = Arc::new(SendWindow::new(1 << 20));
        let writer = Rc::new(DirectWriter::new(io, Arc::clone(&window), Rc::clone(queue)));
        writer.settle(false, Waker::noop());
        (writer, window, peer)
    }

    fn text(text: &str) -> impl FnOnce(&mut Vec<u8>) {
        move |bytes| bytes.extend_from_slice(text.as_bytes())
    }

    async fn read(peer: &mut TcpStream, length: usize) -> String {
        let mut bytes = vec![0; length];
        peer.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[actix::test]
    async fn frames_are_written_in_order_when_the_ready_tasks_have_been_polled() {
        let queue = Rc::new(WriteQueue::default());
        let (one, window, mut peer_of_one) = socket(&queue).await;
        let (other, _, mut peer_of_other) = socket(&queue).await;
        queue.start();
        yield_now().await;
        let task = actix::spawn(async move {
            one.write(text("a"));
            other.write(text("b"));
            one.write(text("c"));
            one.write(|_| {}); // A dialect may have no frame for an event.
            one.queue.frames.borrow().sockets.len()
        });
        assert_eq!(task.await.unwrap(), 3, "nothing is written while tasks are polled");
        yield_now().await;
        assert_eq!(queue.frames.borrow().sockets.len(), 0);
        assert_eq!(
            (read(&mut peer_of_one, 2).await, read(&mut peer_of_other, 1).await),
            ("ac".into(), "b".into())
        );
        assert!(window.is_clear());
    }

    #[actix::test]
    async fn a_batch_is_bounded_and_without_a_writer_nothing_waits() {
        let queue = Rc::new(WriteQueue::default());
        let (writer, _, mut peer) = socket(&queue).await;
        writer.write(text("at once"));
        assert_eq!(read(&mut peer, 7).await, "at once");
        queue.start();
        yield_now().await;
        for _ in 0..FRAMES_MAX {
            writer.write(text("x"));
        }
        assert_eq!(queue.frames.borrow().sockets.len(), 0, "the last one makes the batch full");
        writer.write(|bytes| bytes.resize(BYTES_MAX, b'y'));
        assert_eq!(queue.frames.borrow().sockets.len(), 0);
        assert_eq!(
            read(&mut peer, FRAMES_MAX + BYTES_MAX).await.trim_end_matches('y'),
            "x".repeat(FRAMES_MAX)
        );
    }

    #[actix::test]
    async fn what_the_kernel_does_not_take_is_charged_and_left_to_the_task_in_order() {
        let queue = Rc::new(WriteQueue::default());
        let (writer, window, mut peer) = socket(&queue).await;
        let mut sent = 0;
        while writer.is_free() {
            writer.write(|bytes| bytes.resize(1 << 20, b'x'));
            sent += 1 << 20;
        }
        assert!(!window.is_clear());
        queue.start();
        yield_now().await;
        // Of one batch: the first one blocks the socket again, so the second one must come behind what is left of it.
        let mut rest = writer.take_rest();
        window.release(rest.len());
        assert!(window.is_clear(), "all that is left was charged");
        writer.settle(false, Waker::noop());
        writer.write(text("first,"));
        writer.write(text("second"));
        rest.extend(writer.take_rest());
        assert!(rest.ends_with(b"first,second"), "the task writes what waits before its own output");
        assert!(!writer.is_free() && !window.is_clear());
        let mut got = vec![0; sent + "first,second".len() - rest.len()];
        peer.read_exact(&mut got).await.unwrap();
        assert!(got.iter().all(|byte| *byte == b'x'));
    }
}
