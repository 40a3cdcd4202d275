//! Writes JSON into an existing buffer.
use bytes::BytesMut;

/// A buffer that JSON is appended to.
pub(crate) trait Buffer {
    fn reserve(&mut self, bytes: usize);
    fn push_text(&mut self, text: &str);
    fn push_ascii(&mut self, bytes: &[u8]);
}

impl Buffer for String {
    fn reserve(&mut self, bytes: usize) {
        String::reserve(self, bytes);
    }

    fn push_text(&mut self, text: &str) {
        self.push_str(text);
    }

    fn push_ascii(&mut self, bytes: &[u8]) {
        // A digit is pushed faster than copied; more bytes are copied faster than pushed one by one.
        match bytes {
            [byte] => self.push(char::from(*byte)),
            _ => self.push_str(std::str::from_utf8(bytes).unwrap_or_default()),
        }
    }
}

impl Buffer for Vec<u8> {
    fn reserve(&mut self, bytes: usize) {
        Vec::reserve(self, bytes);
    }

    fn push_text(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }

    fn push_ascii(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Buffer for BytesMut {
    fn reserve(&mut self, bytes: usize) {
        BytesMut::reserve(self, bytes);
    }

    fn push_text(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }

    fn push_ascii(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Appends a JSON string including its quotes.
pub(crate) fn push_string(out: &mut impl Buffer, text: &str) {
    out.reserve(text.len() + 2);
    out.push_text("\"");
    push_escaped(out, text);
    out.push_text("\"");
}

/// Appends the content of a JSON string, without quotes. Only what JSON requires is escaped.
pub(crate) fn push_escaped(out: &mut impl Buffer, text: &str) {
    let bytes = text.as_bytes();
    let mut done = 0;
    let mut at = plain(bytes, 0);
    while at < bytes.len() {
        out.push_text(&text[done..at]);
        push_escape(out, bytes[at]);
        done = at + 1;
        at = plain(bytes, done);
    }
    out.push_text(&text[done..]);
}

/// The offset of the first byte from `at` on that must be escaped (a quote, a backslash, a control character), or the
/// length. Checks eight bytes at a time.
pub(crate) fn plain(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    /// Sets the highest bit of each byte that is 0, and perhaps of bytes above it.
    fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGH
    }
    while let Some(eight) = bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()) {
        let word = u64::from_le_bytes(eight);
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found =
            controls | zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            // The lowest bit is exact, because nothing was borrowed from below it.
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes[at..].iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'));
    rest.map_or(bytes.len(), |rest| at + rest)
}

fn push_escape(out: &mut impl Buffer, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.push_text("\\\""),
        b'\\' => out.push_text("\\\\"),
        b'\n' => out.push_text("\\n"),
        b'\r' => out.push_text("\\r"),
        b'\t' => out.push_text("\\t"),
        _ => {
            out.push_text("\\u00");
            out.push_ascii(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// Appends a number in decimal.
pub(crate) fn push_number(out: &mut impl Buffer, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push_ascii(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_that_must_be_escaped_is_escaped_at_every_offset() {
        for control in (0..0x20).chain([b'"', b'\\', 0x7f, b' ', b'!', b'#', b'[', b']']).map(char::from) {
            for length in 0..18 {
                for at in 0..=length {
                    let mut text = "é".repeat(at);
                    text.push(control);
                    text += &"x".repeat(length - at);
                    let mut out = String::new();
                    push_string(&mut out, &text);
                    assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_string_is_read_back_unchanged(text in r#"([\x00-\x23"\\a-c\x7f-\u{82}\u{2028}你😀]|\PC){0,40}"#) {
            let mut out = String::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }

        #[test]
        fn every_buffer_gets_the_same_bytes(text in r#"([\x00-\x23"\\a-c\x7f你😀]){0,40}"#, number: u64) {
            let (mut string, mut vec, mut bytes) = (String::new(), Vec::new(), BytesMut::new());
            push_string(&mut string, &text);
            push_string(&mut vec, &text);
            push_string(&mut bytes, &text);
            push_number(&mut string, number);
            push_number(&mut vec, number);
            push_number(&mut bytes, number);
            prop_assert_eq!(&vec[..], string.as_bytes());
            prop_assert_eq!(&bytes[..], string.as_bytes());
        }

        #[test]
        fn a_number_is_written_in_decimal(number: u64) {
            let mut out = String::new();
            push_number(&mut out, number);
            prop_assert_eq!(out, number.to_string());
        }
    }
}
