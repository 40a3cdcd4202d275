//! Shared text.
use std::{fmt, ops::Deref, sync::Arc};

/// A slice of a shared block of text. Cloning shares the block: a request uses the same bytes as the history.
#[derive(Clone)]
pub struct Text {
    block: Arc<str>,
    from: u32,
    to: u32,
}

impl Text {
    /// The bytes `from..to` of a block; both must be character boundaries within it.
    pub(super) fn piece(block: &Arc<str>, from: usize, to: usize) -> Self {
        Text { block: Arc::clone(block), from: from as u32, to: to as u32 }
    }

    pub fn as_str(&self) -> &str {
        &self.block[self.from as usize..self.to as usize]
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

/// Copies.
impl<T: Into<Arc<str>>> From<T> for Text {
    fn from(text: T) -> Self {
        let block = text.into();
        let to = block.len() as u32;
        Text { block, from: 0, to }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
