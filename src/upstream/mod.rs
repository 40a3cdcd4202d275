//! The model services: their dialects (pure), the route to them (pure) and the HTTP client.
pub mod breaker;
pub mod chat;
pub mod client;
pub mod dashscope;
pub mod dialect;
mod error_table;
pub mod exchange;
mod frame;
pub mod json_fields;
pub mod json_string;
pub mod listed;
mod output;
mod reader;
mod response;
pub mod route;
pub mod service;
pub mod sse;
pub mod status;
mod template;
pub mod transport;
mod usage;
mod wire;

pub use dialect::{Dialect, Reader};
pub use exchange::{Head, Limits, Outbound};
