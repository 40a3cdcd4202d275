//! The chat-completions dialect, in the spellings of several engines.
mod errors;
mod frame;
mod list;
mod payloads;
mod request;
mod spell;

pub(super) use errors::{answer, error_json};
pub(super) use frame::{Frames, Shape};
pub use list::model_list;
pub(super) use payloads::odd;
pub use request::parse;
pub(super) use spell::SPELLS;
pub use spell::{Break, Spell};
