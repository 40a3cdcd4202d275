//! The plain dialect: text is the answer, and `Error: …` is what went wrong. It has no mark for the end.
use super::Word;
use std::borrow::Cow;

/// What an error begins with.
const ERROR: &[u8] = b"Error: ";

pub(super) fn hear(text: &[u8], is_first: bool) -> Word<'_> {
    if is_first && text.starts_with(ERROR) {
        Word::Error(String::from_utf8_lossy(text).into_owned())
    } else {
        Word::Text(Cow::Borrowed(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_part_of_a_message_can_be_an_error() {
        assert_eq!(hear(b"Error: busy", true), Word::Error("Error: busy".to_owned()));
        for (text, is_first) in [("Error: busy", false), ("An Error: no", true), ("", true)] {
            assert_eq!(hear(text.as_bytes(), is_first), Word::Text(Cow::Borrowed(text.as_bytes())), "{text}");
        }
    }
}
