//! Tidegate: an actor-based WebSocket gateway in front of a large language model.
pub mod chat;
pub mod cli;
pub mod config;
pub mod logging;
pub mod simulator;
pub mod upstream;
