//! Tidegate: an actor-based WebSocket gateway in front of a large language model.
pub mod app;
pub mod chat;
pub mod cli;
pub mod config;
pub mod descriptors;
pub mod dispatch;
pub mod health;
pub mod http;
pub mod io_error;
pub mod load;
pub mod logging;
pub mod metrics;
pub mod protocol;
pub mod session;
pub mod simulator;
pub mod upstream;
pub mod ws;
