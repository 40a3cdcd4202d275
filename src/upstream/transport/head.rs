//! Where the head of a response ends, and how its body is framed (RFC 9112 §6.3).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

/// Finds empty lines, in bytes that come in any pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EmptyLine(Seen);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Seen {
    #[default]
    Text,
    Lf,
    LfCr,
    /// The last byte ended an empty line.
    Found,
}

impl EmptyLine {
    /// Reads up to the end of the first empty line; how many bytes that were. A line may end with a bare LF, as for the
    /// parser of the head, which must never be given a byte of the body.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, &byte) in bytes.iter().enumerate() {
            self.0 = match (self.0, byte) {
                (Seen::Lf | Seen::LfCr, b'\n') => Seen::Found,
                (_, b'\n') => Seen::Lf,
                (Seen::Lf, b'\r') => Seen::LfCr,
                _ => Seen::Text,
            };
            if self.0 == Seen::Found {
                return at.checked_add(1);
            }
        }
        None
    }

    /// Nothing was read since an empty line ended.
    pub(super) fn is_found(self) -> bool {
        self.0 == Seen::Found
    }
}

/// How the body of a response is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// There is no body.
    Empty,
    Chunked,
    /// This number of bytes.
    Length(u64),
    /// Up to the end of the connection.
    UntilClose,
}

/// What of the head of a response decides on its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) status: u16,
    /// HTTP/1.1; else an older one.
    pub(super) is_http_11: bool,
    pub(super) transfer_encoding: Option<&'a str>,
    pub(super) content_length: Option<&'a str>,
    /// One of the options of `Connection` is `close` or `upgrade`.
    pub(super) closes: bool,
}

/// The options of `Connection` after which no other request may follow.
pub(super) fn closes<'a>(connection: impl IntoIterator<Item = &'a str>) -> bool {
    let ends = |option: &str| option.eq_ignore_ascii_case("close") || option.eq_ignore_ascii_case("upgrade");
    connection.into_iter().flat_map(|value| value.split(',')).any(|option| ends(option.trim()))
}

/// How the body is framed, and whether the connection can be used again behind it.
pub(super) fn framing(facts: Facts<'_>) -> (Coding, bool) {
    let is_kept = facts.is_http_11 && !facts.closes;
    // An interim response is read as the final one, which would follow.
    if (100..200).contains(&facts.status) {
        return (Coding::Empty, false);
    }
    if matches!(facts.status, 204 | 304) {
        return (Coding::Empty, is_kept);
    }
    let length = facts.content_length.map(|length| length.trim().parse::<u64>());
    match (facts.transfer_encoding, length) {
        // Both: one of them is false, perhaps to smuggle a response in.
        (Some(coding), length) if facts.is_http_11 && coding.trim().eq_ignore_ascii_case("chunked") => {
            (Coding::Chunked, is_kept && length.is_none())
        }
        (coding, Some(Ok(length))) => {
            let body = if length == 0 { Coding::Empty } else { Coding::Length(length) };
            (body, is_kept && coding.is_none())
        }
        (_, Some(Err(_))) => (Coding::Empty, false),
        (_, None) if !facts.is_http_11 => (Coding::UntilClose, false),
        // A body that ends with the connection, in the version that need not do so, is taken for none: nothing tells
        // a whole one from a part.
        (_, None) => (Coding::Empty, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // faults: D59
    #[test]
    fn the_end_of_a_head_is_found_in_any_pieces() {
        for (head, rest) in [
            ("HTTP/1.1 200 OK\r\n\r\n", "body"),
            ("HTTP/1.1 200 OK\r\na: b\r\nc: d\r\n\r\n", "\r\n\r\n"),
            ("HTTP/1.1 200 OK\na: b\n\n", "5\r\n"),
            ("HTTP/1.1 200 OK\na: b\n\r\n", "5\r\n"),
            ("HTTP/1.1 200 OK\r\na: \rb\r\n\n", ""),
            ("\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
            ("\n\n", "\n"),
        ] {
            let bytes = format!("{head}{rest}").into_bytes();
            for at in 0..=bytes.len() {
                let mut finder = EmptyLine::default();
                let (first, second) = bytes.split_at(at);
                let found = finder.find(first).or_else(|| finder.find(second).map(|end| at + end));
                assert_eq!(found, Some(head.len()), "{head:?} {rest:?} cut at {at}");
                assert!(finder.is_found());
            }
        }
        for text in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\na: b\r\n\r", "a\r\r\n \r\n\t\n"] {
            let mut finder = EmptyLine::default();
            assert_eq!(finder.find(text.as_bytes()), None, "{text:?}");
            assert!(!finder.is_found());
        }
        // Another one may follow, behind blank lines that the parser passes over.
        let mut finder = EmptyLine::default();
        assert_eq!(finder.find(b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), Some(4));
        assert_eq!(finder.find(b"HTTP/1.1 200 OK\r\n\r\nx"), Some(19));
        assert!(finder.is_found());
        assert_eq!(finder.find(b"x"), None);
        assert!(!finder.is_found());
    }

    #[test]
    fn a_connection_closes_by_any_of_its_options() {
        assert!(!closes([]));
        assert!(!closes(["keep-alive", "closed, te"]));
        assert!(closes(["close"]));
        assert!(closes(["keep-alive", "te , Close"]));
        assert!(closes(["Upgrade"]));
    }

    // faults: D55, D59, E80
    #[test]
    fn the_head_decides_on_the_body_and_on_the_connection() {
        use Coding::{Chunked, Empty, Length, UntilClose};
        let facts = |status, transfer_encoding, content_length| Facts {
            status,
            is_http_11: true,
            transfer_encoding,
            content_length,
            closes: false,
        };
        for (facts, expected) in [
            (facts(200, Some("chunked"), None), (Chunked, true)),
            (facts(200, Some(" Chunked"), None), (Chunked, true)),
            (facts(500, Some("chunked"), None), (Chunked, true)),
            (facts(200, None, Some("7")), (Length(7), true)),
            (facts(429, None, Some(" 7 ")), (Length(7), true)),
            (facts(200, None, Some("0")), (Empty, true)),
            (facts(204, None, None), (Empty, true)),
            (facts(304, None, Some("7")), (Empty, true)),
            // One of them would be false.
            (facts(200, Some("chunked"), Some("7")), (Chunked, false)),
            (facts(200, Some("identity"), Some("7")), (Length(7), false)),
            (facts(200, Some("identity"), None), (Empty, false)),
            (facts(200, None, Some("99999999999999999999")), (Empty, false)),
            (facts(200, None, None), (Empty, false)),
            (facts(100, None, None), (Empty, false)),
            (facts(101, None, None), (Empty, false)),
            (facts(103, None, Some("7")), (Empty, false)),
        ] {
            assert_eq!(framing(facts), expected, "{facts:?}");
            let (coding, _) = expected;
            assert_eq!(framing(Facts { closes: true, ..facts }), (coding, false), "{facts:?}");
        }
        for (transfer_encoding, content_length, coding) in [
            (None, None, UntilClose),
            (Some("chunked"), None, UntilClose),
            (None, Some("7"), Length(7)),
            (None, Some("0"), Empty),
        ] {
            let old = Facts { is_http_11: false, ..facts(200, transfer_encoding, content_length) };
            assert_eq!(framing(old), (coding, false), "{old:?}");
        }
    }
}
