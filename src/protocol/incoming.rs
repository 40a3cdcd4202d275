//! Messages from a client before they are decoded, and what all wire formats check in them.
use super::Rejection;
use crate::chat::RequestId;

/// A message that could not be decoded: why, and of which request, as far as that was readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    pub request: Option<RequestId>,
    pub reason: Rejection,
}

/// Limits of a client's messages.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum bytes of a user message; a longer one is rejected.
    pub message_bytes: usize,
    /// Whether a client's transcript may contain system messages.
    pub client_system_prompt: bool,
}

/// Rejects a user message that is blank or too long.
pub(super) fn check_message(text: &str, limits: Limits) -> Result<(), Rejection> {
    if text.len() > limits.message_bytes {
        return Err(Rejection::TooLong { bytes: text.len(), limit: limits.message_bytes });
    }
    if is_blank(text) {
        return Err(Rejection::Empty);
    }
    Ok(())
}

/// Nothing visible: only white space, control and zero-width characters.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    })
}

/// One whole WebSocket message from a client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Incoming<'a> {
    Text(&'a str),
    Binary,
}
