//! Where the next attempt of a run goes, and when.
pub mod retry;
