//! The body of a response, read from the socket into one buffer per thread. Behind the end of a body its connection goes
//! back to the pool.
use super::{
    chunked::{Chunked, ChunkedError},
    head::Coding,
    link::Link,
    pool::{Origin, Pool},
};
use std::{
    cell::{Cell, RefCell},
    io, mem,
    rc::Rc,
    task::{Context, Poll, ready},
};
use tokio::{io::ReadBuf, time::Instant};

/// Bytes of the buffer of a thread, and so of the largest read: a record of TLS.
const BUFFER_BYTES: usize = 16 * 1024;

/// Late acknowledgements are renewed with one read in this many: the kernel goes back to prompt ones when one of
/// them was sent by its timer.
const LAZY_ACKS_RENEWED: u8 = 16;

thread_local! {
    /// Empty while it is in use: a panic in the middle costs the buffer and no later read.
    static BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

fn with_buffer<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = BUFFER.take().unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
    let result = read(&mut buffer);
    BUFFER.set(Some(buffer));
    result
}

/// What a read of a body brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Read {
    /// This number of bytes from the socket, framing included; at least one.
    Bytes(usize),
    /// Nothing: the body has ended.
    End,
    /// Nothing: the connection has ended before the body.
    Cut,
}

/// Why a body cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub(in crate::upstream) enum BodyError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Chunked(#[from] ChunkedError),
}

/// A body. Dropping it before its end closes the connection.
pub(in crate::upstream) struct Body {
    /// Until the body ends, in whatever way.
    link: Option<Link>,
    decoder: Decoder,
    /// Read with the head.
    early: Vec<u8>,
    /// Acknowledges late; counts the reads, to renew that.
    lazy_acks: Option<u8>,
    /// Another request may follow on this connection.
    is_kept: bool,
    origin: Origin,
    pool: Rc<RefCell<Pool<Link>>>,
}

enum Decoder {
    Chunked(Chunked),
    /// Bytes that are left.
    Length(u64),
    UntilClose,
}

impl Body {
    /// `early`: what was read with the head and follows it.
    pub(super) fn new(
        link: Link,
        origin: Origin,
        early: Vec<u8>,
        (coding, is_kept): (Coding, bool),
        lazy_acks: bool,
        pool: Rc<RefCell<Pool<Link>>>,
    ) -> Self {
        let decoder = match coding {
            Coding::Empty => Decoder::Length(0),
            Coding::Length(length) => Decoder::Length(length),
            Coding::Chunked => Decoder::Chunked(Chunked::new()),
            Coding::UntilClose => Decoder::UntilClose,
        };
        let lazy_acks = lazy_acks.then_some(0);
        let mut body = Body { link: Some(link), decoder, early, lazy_acks, is_kept, origin, pool };
        if coding == Coding::Empty {
            let after = mem::take(&mut body.early).len();
            body.end(after);
        }
        body
    }

    /// Hands on what is there. An error may come behind data of the same read.
    pub(in crate::upstream) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&[u8]),
    ) -> Poll<Result<Read, BodyError>> {
        if !self.early.is_empty() {
            let early = mem::take(&mut self.early);
            return Poll::Ready(self.decode(&early, &mut take));
        }
        with_buffer(|buffer| {
            let Some(link) = &mut self.link else { return Poll::Ready(Ok(Read::End)) };
            let mut buffer = ReadBuf::new(buffer);
            ready!(link.poll_read(cx, &mut buffer))?;
            if let Some(reads) = &mut self.lazy_acks {
                if *reads % LAZY_ACKS_RENEWED == 0 {
                    link.acknowledge_late();
                }
                *reads = reads.wrapping_add(1);
            }
            if buffer.filled().is_empty() {
                self.link = None;
                let is_end = matches!(self.decoder, Decoder::UntilClose);
                return Poll::Ready(Ok(if is_end { Read::End } else { Read::Cut }));
            }
            Poll::Ready(self.decode(buffer.filled(), &mut take))
        })
    }

    fn decode(&mut self, bytes: &[u8], take: &mut impl FnMut(&[u8])) -> Result<Read, BodyError> {
        let after = match &mut self.decoder {
            Decoder::Chunked(chunked) => match chunked.feed(bytes, take) {
                Ok(after) => after,
                Err(error) => {
                    self.link = None;
                    return Err(error.into());
                }
            },
            Decoder::Length(left) => {
                let data = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                take(&bytes[..data]);
                *left = left.saturating_sub(data as u64);
                (*left == 0).then(|| bytes.len() - data)
            }
            Decoder::UntilClose => {
                take(bytes);
                None
            }
        };
        if let Some(after) = after {
            self.end(after);
        }
        Ok(Read::Bytes(bytes.len()))
    }

    /// The body has ended, and this number of bytes was read behind it: a connection that brings what no request asked
    /// for is not used again.
    fn end(&mut self, after: usize) {
        let Some(link) = self.link.take() else { return };
        if self.is_kept && after == 0 {
            self.pool.borrow_mut().put(link, self.origin, Instant::now().into_std());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUFFER_BYTES, with_buffer};
    use std::panic::catch_unwind;

    #[test]
    fn a_panic_in_the_middle_of_a_read_costs_no_later_read() {
        assert!(catch_unwind(|| with_buffer(|_| panic!("in the middle of a read"))).is_err());
        assert_eq!(with_buffer(|buffer| buffer.len()), BUFFER_BYTES);
        // Nor does a read within a read.
        let lengths = with_buffer(|outer| (outer.len(), with_buffer(|inner| inner.len())));
        assert_eq!(lengths, (BUFFER_BYTES, BUFFER_BYTES));
    }
}
