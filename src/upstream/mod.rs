//! The model services: their wire formats (pure) and the one client that speaks to them.
pub mod breaker;
pub mod client;
pub mod dashscope;
pub mod error;
pub mod json_string;
pub mod sse;

pub use error::{classify, retry_after};
