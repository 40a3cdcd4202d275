//! Connects clients with chats: connections and their requests, sessions, the registry, and the worker's
//! heartbeat.
pub mod bad_frames;
pub mod chat_table;
pub mod connection;
pub mod heartbeat;
pub mod messages;
mod reclaim;
pub mod registry;
pub mod retained;
pub mod session_actor;
pub mod subscriber;
pub mod take_over;
#[cfg(test)]
mod tests;
pub mod timers;
pub mod worker;

pub use chat_table::ChatLimits;
pub use connection::{Connection, Connections};
pub use registry::Registry;
pub use worker::{Settings, SharedParts, Worker};
