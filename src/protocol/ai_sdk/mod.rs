//! The dialect of `/api/chat`: JSON frames of the AI SDK's `WebSocketChatTransport`. See `docs/PROTOCOL.md`.
mod decode;
mod spell;

pub(super) use decode::decode;
pub use spell::Speller;
