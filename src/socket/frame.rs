//! Encodes frames, and owns the buffers shared by all sockets of a thread.
use std::{
    cell::{Cell, RefCell},
    thread::LocalKey,
};

/// Bytes above which a thread's output buffer is freed after use instead of kept.
const OUT_BYTES_MAX: usize = 256 * 1024;

thread_local! {
    static OUT: Cell<Option<OutputBuffer>> = const { Cell::new(None) };
    /// Bytes received and sent by the thread's sockets since the last tick.
    pub(crate) static RECEIVED: Cell<u64> = const { Cell::new(0) };
    pub(crate) static SENT: Cell<u64> = const { Cell::new(0) };
    /// The thread's input buffer.
    pub(crate) static IN: RefCell<Vec<u8>> = RefCell::new(vec![0; 16 * 1024]);
}

/// A buffer for frames; boxed, so that the context of an idle socket is 16 bytes smaller.
pub(crate) type OutputBuffer = Box<Vec<u8>>;

/// Takes the thread's output buffer, which is lent to a context for one poll.
pub(crate) fn take_output() -> OutputBuffer {
    OUT.take().unwrap_or_default()
}

/// Returns the buffer to the thread, or frees it if a large message has enlarged it.
pub(crate) fn give_back(mut buffer: OutputBuffer) {
    if buffer.capacity() <= OUT_BYTES_MAX {
        buffer.clear();
        OUT.set(Some(buffer));
    }
}

/// Adds to one of the thread's byte counters.
pub(crate) fn count(bytes: &'static LocalKey<Cell<u64>>, more: usize) {
    bytes.set(bytes.get() + more as u64);
}

/// Appends an unfragmented, unmasked frame (RFC 6455 §5.2).
pub(crate) fn write_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}
