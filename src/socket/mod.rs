//! WebSockets below the conversation (RFC 6455): the guard on frame headers, the bounds on what comes and
//! goes, the actor context, and the task that drives one socket. Knows no chat.
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
