//! The model services: their wire formats (pure) and the one client that speaks to them.
pub mod breaker;
pub mod client;
pub mod dashscope;
mod error_table;
pub mod json_string;
pub mod route;
pub mod sse;
pub mod status;
mod usage;
