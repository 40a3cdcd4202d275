//! A bounded queue before standard error, so that a reader of the log that stops reading does not block the gateway.
use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

/// The sending end of the queue. Clones share one writing thread, which ends with the last clone.
#[derive(Clone)]
pub(super) struct Queue {
    sender: SyncSender<Vec<u8>>,
    /// Lines that are neither written nor lost yet.
    pending: Arc<AtomicUsize>,
    dropped: &'static AtomicU64,
}

impl Queue {
    /// Starts the writing thread. When `capacity` lines are waiting, further ones are dropped and counted in `dropped`, as
    /// are lines that cannot be written.
    pub(super) fn spawn(
        sink: impl Write + Send + 'static,
        capacity: usize,
        dropped: &'static AtomicU64,
    ) -> io::Result<Queue> {
        let (sender, receiver) = sync_channel(capacity);
        let pending = Arc::new(AtomicUsize::new(0));
        let queue = Queue { sender, pending: Arc::clone(&pending), dropped };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || drain(sink, &receiver, &pending, dropped))?;
        Ok(queue)
    }

    /// Waits until every line is written or lost; returns false on timeout.
    pub(super) fn flush(&self, longest: Duration) -> bool {
        // Polling in steps is sufficient: this runs when the process exits, where a millisecond does not matter.
        for _ in 0..longest.as_millis() {
            if self.pending.load(Ordering::Acquire) == 0 {
                return true;
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.pending.load(Ordering::Acquire) == 0
    }
}

/// `env_logger` writes one whole line per call.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.pending.fetch_add(1, Ordering::AcqRel);
        if self.sender.try_send(line.to_vec()).is_err() {
            self.pending.fetch_sub(1, Ordering::AcqRel);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn drain(mut sink: impl Write, lines: &Receiver<Vec<u8>>, pending: &AtomicUsize, dropped: &AtomicU64) {
    for line in lines {
        if sink.write_all(&line).and_then(|()| sink.flush()).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        pending.fetch_sub(1, Ordering::AcqRel);
    }
}
