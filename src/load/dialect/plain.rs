//! The plain dialect: text is the answer, `Error: …` is an error. It has no end marker.
use super::ServerEvent;
use std::borrow::Cow;

/// Prefix of an error message.
const ERROR: &[u8] = b"Error: ";
/// End of the error message after which the answer begins anew.
const RESTARTED: &[u8] = b"The answer starts again.";

pub(super) fn receive(text: &[u8], is_first: bool) -> ServerEvent<'_> {
    if is_first && text.starts_with(ERROR) && text.ends_with(RESTARTED) {
        ServerEvent::Restarted
    } else if is_first && text.starts_with(ERROR) {
        ServerEvent::Error(String::from_utf8_lossy(text).into_owned())
    } else {
        ServerEvent::Text(Cow::Borrowed(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_part_of_a_message_can_be_an_error() {
        assert_eq!(receive(b"Error: busy", true), ServerEvent::Error("Error: busy".to_owned()));
        let restarted = b"Error: The connection to the model broke. The answer starts again.";
        assert_eq!(receive(restarted, true), ServerEvent::Restarted);
        for (text, is_first) in [("Error: busy", false), ("An Error: no", true), ("", true)] {
            assert_eq!(
                receive(text.as_bytes(), is_first),
                ServerEvent::Text(Cow::Borrowed(text.as_bytes())),
                "{text}"
            );
        }
    }
}
