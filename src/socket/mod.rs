//! The WebSocket layer (RFC 6455): validation of frame headers, limits on input and output, the actor
//! context, and the task of a socket. It does not depend on chats.
pub mod context;
pub mod direct;
pub mod frame;
pub mod guard;
pub mod handler;
pub mod inbound;
pub mod intake;
pub mod peer_progress;
pub mod rate;
pub mod stall;
mod stream;
pub mod task;
#[cfg(test)]
mod tests;
pub mod unfinished;
pub mod uploads;
pub mod window;
pub mod worker;
