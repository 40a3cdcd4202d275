//! The wire formats: which one a route uses, and the encoder of its frames.
use super::{ClientFrame, DecodeError, Incoming, Limits, ServerFrame, ai_sdk, plain};
use crate::chat::RequestId;

/// The wire format of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// `/chat`: text in, text out.
    Plain,
    /// `/api/chat`: JSON frames of the AI SDK's WebSocket transport.
    AiSdk,
}

impl Codec {
    /// The names in metrics.
    pub const NAMES: [&'static str; 2] = ["plain", "ai_sdk"];

    /// One of [`Codec::NAMES`].
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Decodes one message. An error is reported to the client and changes nothing.
    pub fn decode(self, message: Incoming<'_>, limits: Limits) -> Result<ClientFrame, DecodeError> {
        match self {
            Codec::Plain => {
                plain::decode(message, limits).map_err(|reason| DecodeError { request: None, reason })
            }
            Codec::AiSdk => ai_sdk::decode(message, limits),
        }
    }

    /// The encoder for one subscriber: for a whole connection, or for one request on it.
    pub fn encoder(self, request: Option<&RequestId>) -> FrameEncoder {
        match self {
            Codec::Plain => FrameEncoder::Plain,
            Codec::AiSdk => FrameEncoder::AiSdk(Box::new(ai_sdk::ChunkEncoder::new(request))),
        }
    }
}

/// Encodes the frames for one subscriber, in order: an encoding may depend on the frames before it.
#[derive(Clone, Debug)]
pub enum FrameEncoder {
    Plain,
    AiSdk(Box<ai_sdk::ChunkEncoder>),
}

impl FrameEncoder {
    /// Encodes one frame as any number of text messages, each passed to `send`.
    pub fn encode(&mut self, frame: &ServerFrame, send: impl FnMut(&str)) {
        match self {
            FrameEncoder::Plain => plain::encode(frame, send),
            FrameEncoder::AiSdk(encoder) => encoder.encode(frame, send),
        }
    }
}
