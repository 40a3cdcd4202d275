//! The owner of chats.
use super::ChatId;
use std::fmt;

/// A person, or an anonymous browser. An anonymous principal is a secret, because any client that knows it can read its
/// chats. So it has no `Display`, and its `Debug` reveals nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal(u128);

impl Principal {
    pub fn new(number: u128) -> Self {
        Principal(number)
    }

    /// Only for the cookie.
    pub fn expose(self) -> u128 {
        self.0
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Principal(***)")
    }
}

/// The key of a conversation. Chats of different principals differ even if their IDs are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChatKey {
    pub principal: Principal,
    pub chat: ChatId,
}
