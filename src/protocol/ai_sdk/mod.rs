//! The dialect of `/api/chat`: JSON frames of the AI SDK's `WebSocketChatTransport`. See `docs/PROTOCOL.md`.
mod decode;
mod encoder;
mod parse;
#[cfg(test)]
mod tests;

pub(super) use decode::decode;
pub use encoder::ChunkEncoder;
