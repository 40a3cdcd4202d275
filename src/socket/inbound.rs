//! Decodes a client's bytes into frames, after the guard, and joins fragments into messages.
use super::{
    guard::{CONTROL_BYTES_MAX, Guard, Limits},
    unfinished::Progress,
};
use crate::protocol::Close;
use actix_codec::Decoder;
use actix_http::ws::Item;
use actix_web_actors::ws::Frame;
use bytes::{Bytes, BytesMut};

/// Decodes input that may be split anywhere. Holds bytes only while a frame is incomplete.
pub struct Inbound {
    codec: actix_http::ws::Codec,
    guard: Guard,
    /// Bytes that the guard has accepted and the codec has not consumed.
    good: BytesMut,
    /// Why the input after the good bytes is rejected.
    refused: Option<Close>,
}

impl Inbound {
    pub fn new(limits: Limits) -> Self {
        // The codec's limit also applies to control frames, which the guard's limit does not cover.
        let size = (limits.frame_bytes as usize).max(CONTROL_BYTES_MAX as usize);
        Inbound {
            codec: actix_http::ws::Codec::new().max_size(size),
            guard: Guard::default(),
            good: BytesMut::new(),
            refused: None,
        }
    }

    /// Takes bytes read at `now` (nanoseconds), with the limits given to [`Inbound::new`]. Must not be called
    /// again before [`Inbound::frame`] returns `None`.
    pub fn take(&mut self, limits: Limits, now: u64, bytes: &[u8]) {
        let (good, refused) = self.guard.feed(limits, now, bytes);
        self.good.extend_from_slice(&bytes[..good]);
        self.refused = refused;
    }

    /// The next complete frame, or why the socket must be closed.
    pub fn frame(&mut self) -> Option<Result<Frame, Close>> {
        if !self.good.is_empty() {
            match self.codec.decode(&mut self.good) {
                Ok(Some(frame)) => return Some(Ok(frame)),
                Ok(None) => {}
                // The guard has accepted it, so this is a case that the guard does not cover.
                Err(_) => return Some(Err(Close::Protocol)),
            }
        }
        if self.good.is_empty() {
            self.good = BytesMut::new(); // An idle socket holds no buffer.
        }
        self.refused.take().map(Err)
    }

    /// Progress of an incomplete frame or message.
    pub fn progress(&self) -> Option<Progress> {
        self.guard.progress()
    }

    /// Bytes of the incomplete frame.
    pub fn held(&self) -> usize {
        self.good.len()
    }

    /// Memory that these take.
    pub fn footprint(&self) -> usize {
        footprint(&self.good)
    }
}

/// A buffer doubles when it grows, but the kernel only commits memory that is written. Half of the length is
/// added for earlier, smaller buffers that the allocator still holds.
fn footprint(buffer: &BytesMut) -> usize {
    buffer.capacity().min(buffer.len() + buffer.len() / 2)
}

/// Joins fragments; the guard bounds their total size.
#[derive(Default)]
pub struct Fragments(Option<Box<Partial>>);

/// A message whose last fragment has not arrived.
struct Partial {
    is_text: bool,
    payload: BytesMut,
}

impl Fragments {
    /// Adds a fragment. The last one returns the message: whether it is text, and its payload.
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

    /// Bytes of the incomplete message.
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
