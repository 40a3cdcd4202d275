//! The model services: their wire formats (pure) and the one client that speaks to them.
pub mod breaker;
pub mod client;
pub mod dashscope;
pub mod dialect;
mod error_table;
pub mod exchange;
pub mod json_string;
pub mod route;
pub mod sse;
pub mod status;
mod usage;

pub use dialect::{Dialect, Reader};
pub use exchange::{Head, Limits, Outbound};
