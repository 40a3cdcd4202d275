//! The dialect of `/api/chat`: JSON frames of the AI SDK's `WebSocketChatTransport`. See `docs/PROTOCOL.md`.
mod decode;
mod json;
mod parse;
mod spell;
#[cfg(test)]
mod tests;

pub(super) use decode::decode;
pub use spell::{Mark, Speller};
