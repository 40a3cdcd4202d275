//! Decodes a client's bytes: frames that the guard has passed, and fragments joined to messages.
use super::{
    guard::{CONTROL_BYTES_MAX, Guard, Limits},
    unfinished::Progress,
};
use crate::protocol::Close;
use actix_codec::Decoder;
use actix_http::ws::Item;
use actix_web_actors::ws::Frame;
use bytes::{Bytes, BytesMut};

/// Turns bytes of any split into frames. It holds bytes only while a frame is incomplete.
pub struct Inbound {
    codec: actix_http::ws::Codec,
    guard: Guard,
    /// Bytes that the guard has passed and the codec has not yet used.
    good: BytesMut,
    /// What comes after the good bytes.
    refused: Option<Close>,
}

impl Inbound {
    pub fn new(limits: Limits) -> Self {
        // The codec's bound is for control frames too, which the limits do not cover.
        let size = (limits.frame_bytes as usize).max(CONTROL_BYTES_MAX as usize);
        Inbound {
            codec: actix_http::ws::Codec::new().max_size(size),
            guard: Guard::default(),
            good: BytesMut::new(),
            refused: None,
        }
    }

    /// Takes what was read `now`, in nanoseconds. The limits are those it was made with. Not to be called
    /// again before [`Inbound::frame`] has nothing more.
    pub fn take(&mut self, limits: Limits, now: u64, bytes: &[u8]) {
        let (good, refused) = self.guard.feed(limits, now, bytes);
        self.good.extend_from_slice(&bytes[..good]);
        self.refused = refused;
    }

    /// The next whole frame, or why there is none and the socket is to be closed.
    pub fn frame(&mut self) -> Option<Result<Frame, Close>> {
        if !self.good.is_empty() {
            match self.codec.decode(&mut self.good) {
                Ok(Some(frame)) => return Some(Ok(frame)),
                Ok(None) => {}
                // The guard has looked at it before, so this is what it does not know of.
                Err(_) => return Some(Err(Close::Protocol)),
            }
        }
        if self.good.is_empty() {
            self.good = BytesMut::new(); // An idle socket holds no buffer.
        }
        self.refused.take().map(Err)
    }

    /// What has arrived of a frame or message that is not complete.
    pub fn progress(&self) -> Option<Progress> {
        self.guard.progress()
    }

    /// Bytes of a frame that is not whole yet.
    pub fn held(&self) -> usize {
        self.good.len()
    }

    /// Memory that these take.
    pub fn footprint(&self) -> usize {
        footprint(&self.good)
    }
}

/// A buffer doubles when it grows, but the kernel gives memory only for what is written to: half as much
/// again is counted for what its earlier, smaller selves left with the allocator.
fn footprint(buffer: &BytesMut) -> usize {
    buffer.capacity().min(buffer.len() + buffer.len() / 2)
}

/// Joins fragments; the guard bounds what they make together.
#[derive(Default)]
pub struct Fragments(Option<Box<Partial>>);

/// A message whose last fragment is still to come.
struct Partial {
    is_text: bool,
    payload: BytesMut,
}

impl Fragments {
    /// Takes the next fragment. With the last one the message is whole: whether it is text, and all of it.
    pub fn join(&mut self, item: Item) -> Option<(bool, Bytes)> {
        let payload = match item {
            Item::FirstText(payload) => return self.begin(true, &payload),
            Item::FirstBinary(payload) => return self.begin(false, &payload),
            Item::Continue(payload) => {
                self.0.as_mut()?.payload.extend_from_slice(&payload);
                return None;
            }
            Item::Last(payload) => payload,
        };
        let mut partial = self.0.take()?;
        partial.payload.extend_from_slice(&payload);
        Some((partial.is_text, partial.payload.freeze()))
    }

    /// Bytes of the message that is not whole yet.
    pub fn held(&self) -> usize {
        self.0.as_ref().map_or(0, |partial| partial.payload.len())
    }

    /// Memory that these take.
    pub fn footprint(&self) -> usize {
        self.0.as_ref().map_or(0, |partial| footprint(&partial.payload))
    }

    fn begin(&mut self, is_text: bool, payload: &[u8]) -> Option<(bool, Bytes)> {
        self.0 = Some(Box::new(Partial { is_text, payload: BytesMut::from(payload) }));
        None
    }
}
