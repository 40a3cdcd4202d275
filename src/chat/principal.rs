//! Who owns a chat.
use super::ChatId;
use std::fmt;

/// A person, or an anonymous browser. It is a secret where it is anonymous: a client that knows it
/// may read its chats. So it has no `Display`, and its `Debug` says nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal(u128);

impl Principal {
    pub fn new(number: u128) -> Self {
        Principal(number)
    }

    /// For the cookie alone.
    pub fn expose(self) -> u128 {
        self.0
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Principal(***)")
    }
}

/// A conversation belongs to its principal: the same name of another one's is another conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChatKey {
    pub principal: Principal,
    pub chat: ChatId,
}
