//! Frames to a client.
use crate::{chat::RequestId, protocol::ServerFrame};

/// Spells the words to one request.
#[derive(Clone, Debug)]
pub struct Speller {}

impl Speller {
    /// For a request, or for a connection that answers what it cannot read.
    pub fn new(_: Option<&RequestId>) -> Self {
        Speller {}
    }

    pub fn spell(&mut self, _: &ServerFrame, _: impl FnMut(&str)) {}
}
