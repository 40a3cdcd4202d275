//! IDs that clients choose for their requests, chats and messages. Their form is checked before they are used as keys, in
//! frames or in log lines.
use super::{RunId, SessionId};
use std::fmt;

/// Maximum bytes of an ID; a longer one is rejected.
pub const ID_BYTES_MAX: usize = 128;

/// Why an ID is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdFault {
    #[error("is empty")]
    Empty,
    #[error("is longer than {ID_BYTES_MAX} bytes")]
    TooLong,
    #[error("may hold only letters, digits and . _ : ~ @ = + -")]
    Alphabet,
}

fn check(text: &str) -> Result<(), IdFault> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_:~@=+".contains(&b);
    match text.len() {
        0 => Err(IdFault::Empty),
        1..=ID_BYTES_MAX if text.bytes().all(allowed) => Ok(()),
        1..=ID_BYTES_MAX => Err(IdFault::Alphabet),
        _ => Err(IdFault::TooLong),
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $Name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $Name(Box<str>);

        impl $Name {
            /// # Errors
            /// The text is not a valid ID.
            pub fn new(text: &str) -> Result<Self, IdFault> {
                check(text).map(|()| $Name(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// A client's ID of a request on its socket.
    RequestId
    /// A client's ID of a conversation; unique only together with the principal.
    ChatId
    /// A client's ID of its message, or the gateway's ID of an answer.
    MessageId
}

impl MessageId {
    /// An ID that was validated before.
    pub(super) fn taken(text: &str) -> Self {
        debug_assert_eq!(check(text), Ok(()));
        MessageId(text.into())
    }

    /// The ID of a run's answer.
    pub fn of_answer(session: SessionId, run: RunId) -> Self {
        MessageId::taken(&format!("msg-{session}-{run}"))
    }

    /// The run of this session whose answer this is, if it is one.
    pub(super) fn run_of(&self, session: SessionId) -> Option<RunId> {
        let run = RunId(self.as_str().rsplit_once('-')?.1.parse().ok()?);
        (MessageId::of_answer(session, run) == *self).then_some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // faults: A28
    #[test]
    fn only_names_of_a_known_form_are_taken() {
        for good in ["a", "kR3fJ2x9QpLm4TzB", "123e4567-e89b-12d3-a456-426614174000", "user:1@x~y=z+w._-"] {
            assert_eq!(ChatId::new(good).unwrap().as_str(), good);
        }
        assert!(ChatId::new(&"x".repeat(ID_BYTES_MAX)).is_ok());
        assert_eq!(ChatId::new(""), Err(IdFault::Empty));
        assert_eq!(ChatId::new(&"x".repeat(10_000_000)), Err(IdFault::TooLong));
        for bad in ["../a", "a b", "a\r\nb", "*", "\u{1b}[31m", "你", "a\0", "a/b", "{a}", "\"", "a,b"] {
            assert_eq!(ChatId::new(bad), Err(IdFault::Alphabet), "{bad:?}");
        }
    }
}
