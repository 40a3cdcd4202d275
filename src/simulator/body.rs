//! A response body that plays a script, with a single timer for the whole stream.
use super::{
    script::{Player, Step},
    stats::{ActiveRequest, Outcome},
    wire::Wire,
};
use crate::clock;
use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use std::{
    io::{self, Write as _},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// Initial deadline of a timer that was not set yet.
const FAR: Duration = Duration::from_secs(86_400);

/// A stream in progress. The HTTP library drops it when the client disconnects, which counts as cancelled.
pub(super) struct Stream {
    player: Box<Player>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    started: Instant,
    started_ns: u64,
    timer: Pin<Box<Sleep>>,
    wire: Option<Wire>,
    close_idle: Option<Duration>,
    promised: Option<u64>,
    live: ActiveRequest,
    /// The bytes written before a cut have been flushed.
    flushed: bool,
    ended: bool,
}

impl Stream {
    pub(super) fn new(player: Box<Player>, gzip: bool, wire: Option<Wire>, live: ActiveRequest) -> Self {
        let started = Instant::now();
        Stream {
            player,
            gzip: gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            started,
            started_ns: clock::now_ns(),
            timer: Box::pin(sleep_until(started + FAR)),
            wire,
            close_idle: None,
            promised: None,
            live,
            flushed: false,
            ended: false,
        }
    }

    /// Closes the connection this long after the end.
    pub(super) fn close_idle(mut self, after: Option<Duration>) -> Self {
        self.close_idle = after;
        self
    }

    /// Declares this content length, which the body never reaches.
    pub(super) fn promise(mut self, length: Option<u64>) -> Self {
        self.promised = length;
        self
    }

    fn pack(&mut self, bytes: Bytes) -> io::Result<Bytes> {
        let Some(encoder) = &mut self.gzip else { return Ok(bytes) };
        encoder.write_all(&bytes)?;
        encoder.flush()?;
        Ok(std::mem::take(encoder.get_mut()).into())
    }

    /// The end of the body; with gzip, the first call may still return the last compressed bytes.
    fn end(&mut self) -> Option<Result<Bytes, io::Error>> {
        if let Some(encoder) = self.gzip.take() {
            return Some(encoder.finish().map(Bytes::from));
        }
        if self.promised.is_some() {
            return self.cut();
        }
        self.live.end(Outcome::Completed);
        self.ended = true;
        if let (Some(after), Some(wire)) = (self.close_idle, self.wire.take()) {
            actix_web::rt::spawn(async move {
                tokio::time::sleep(after).await;
                wire.close();
            });
        }
        None
    }

    /// A body error makes the HTTP library drop the connection.
    fn cut(&mut self) -> Option<Result<Bytes, io::Error>> {
        self.live.end(Outcome::Broken);
        self.ended = true;
        Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the script cuts the connection here")))
    }
}

impl MessageBody for Stream {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        self.promised.map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            let now_ns = clock::now_ns();
            let elapsed = Duration::from_nanos(now_ns - this.started_ns);
            match this.player.step(elapsed, now_ns) {
                Step::Write(bytes) => match this.pack(bytes) {
                    // An empty chunk would end the body.
                    Ok(bytes) if bytes.is_empty() => {}
                    packed => return Poll::Ready(Some(packed)),
                },
                Step::Wait(offset) => {
                    this.timer.as_mut().reset(this.started + offset);
                    match this.timer.as_mut().poll(context) {
                        Poll::Ready(()) => {}
                        Poll::Pending => return Poll::Pending,
                    }
                }
                Step::Flush => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Step::End if this.promised.is_some() && !this.flushed => {
                    this.flushed = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Step::End => return Poll::Ready(this.end()),
                Step::Cut => return Poll::Ready(this.cut()),
                Step::Reset => {
                    if let Some(wire) = &this.wire {
                        wire.reset_on_close();
                    }
                    return Poll::Ready(this.cut());
                }
                Step::Hang => return Poll::Pending,
            }
        }
    }
}

/// A body that fails at once: the connection is dropped before the head was sent.
pub(super) struct Broken;

impl MessageBody for Broken {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())))
    }
}

/// A compressed body that is small on the wire and huge when unpacked.
pub(super) struct Bomb {
    encoder: Option<GzEncoder<Vec<u8>>>,
    left_mib: u64,
    live: ActiveRequest,
}

impl Bomb {
    pub(super) fn new(mib: u64, live: ActiveRequest) -> Self {
        Bomb { encoder: Some(GzEncoder::new(Vec::new(), Compression::best())), left_mib: mib, live }
    }
}

impl MessageBody for Bomb {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        const MIB: usize = 1 << 20;
        if self.left_mib == 0 {
            self.live.end(Outcome::Completed);
            return Poll::Ready(self.encoder.take().map(|encoder| encoder.finish().map(Bytes::from)));
        }
        self.left_mib -= 1;
        let Some(encoder) = &mut self.encoder else { return Poll::Ready(None) };
        if let Err(error) = encoder.write_all(&vec![b' '; MIB]) {
            return Poll::Ready(Some(Err(error)));
        }
        let bytes = std::mem::take(encoder.get_mut());
        if bytes.is_empty() {
            // The encoder buffers small output; yield to other tasks in between.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(bytes.into())))
    }
}
