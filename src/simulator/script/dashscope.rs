//! DashScope's native dialect.
mod endpoint;
mod error_table;
mod frame;
mod payloads;
mod request;

pub use endpoint::{Endpoint, Format};
pub(super) use error_table::answer;
pub(super) use frame::{Frames, Shape, error_json};
pub use request::parse;
