//! Where a request ends in a stream of bytes (RFC 9112 §2.1, §6, §7.1). Pure.
//!
//! The parser decides what a request says; this only tells how far it may read. Where both disagree the parser waits for
//! more, or refuses what it gets.

/// The body that a head announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Looks for the end of a head: an empty line behind one that is not.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// There was a line that is not empty.
    begun: bool,
    /// There is something on the current line.
    line: bool,
}

impl HeadScan {
    /// How many of the bytes belong to the head, if it ends in them.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if self.begun && !self.line => return Some(at + 1),
                b'\n' => {
                    self.begun |= self.line;
                    self.line = false;
                }
                b'\r' => {}
                _ => self.line = true,
            }
        }
        None
    }
}

/// Looks for the end of a body in chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The digits of a chunk's length.
    Size(u64),
    /// What follows them on their line.
    Extension(u64),
    Data(u64),
    /// The line end behind a chunk.
    DataEnd,
    /// Behind the last chunk; whether there is something on the current line.
    Trailer(bool),
}

impl Default for At {
    fn default() -> Self {
        At::Size(0)
    }
}

impl Chunks {
    /// How many of the bytes belong to the body, if it ends in them.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut next = 0;
        while let Some(byte) = bytes.get(next) {
            next += 1;
            self.at = match self.at {
                At::Size(size) | At::Extension(size) if *byte == b'\n' => match size {
                    0 => At::Trailer(false),
                    _ => At::Data(size),
                },
                At::Size(size) => match char::from(*byte).to_digit(16) {
                    // One that no integer holds never ends.
                    Some(digit) => At::Size(size.saturating_mul(16).saturating_add(digit.into())),
                    None => At::Extension(size),
                },
                At::Extension(size) => At::Extension(size),
                At::Data(left) => {
                    let here = (bytes.len() - next + 1).min(usize::try_from(left).unwrap_or(usize::MAX));
                    next += here - 1;
                    match left - here as u64 {
                        0 => At::DataEnd,
                        left => At::Data(left),
                    }
                }
                At::DataEnd if *byte == b'\n' => At::Size(0),
                At::DataEnd => At::DataEnd,
                At::Trailer(false) if *byte == b'\n' => return Some(next),
                At::Trailer(line) => At::Trailer(*byte != b'\n' && (line || *byte != b'\r')),
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end in one piece, which must be the same one byte at a time.
    fn check<T: Default>(bytes: &str, expected: Option<usize>, end: fn(&mut T, &[u8]) -> Option<usize>) {
        assert_eq!(end(&mut T::default(), bytes.as_bytes()), expected, "{bytes:?}");
        let mut state = T::default();
        let found = (0..bytes.len()).find(|at| end(&mut state, &bytes.as_bytes()[*at..=*at]).is_some());
        assert_eq!(found.map(|at| at + 1), expected, "{bytes:?}");
    }

    #[test]
    fn the_end_of_a_head() {
        for (bytes, expected) in [
            ("GET / HTTP/1.1\r\na: b\r\n\r\nrest", Some(24)),
            ("GET / HTTP/1.1\na: b\n\nrest", Some(21)),
            ("GET / HTTP/1.1\r\n\r\n", Some(18)),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Some(22)),
            ("GET / HTTP/1.1\r\na: b\r\n", None),
            ("\r\n\r\n\n\n", None),
        ] {
            check(bytes, expected, HeadScan::end);
        }
    }

    #[test]
    fn the_end_of_chunks() {
        for (bytes, expected) in [
            ("5\r\nhello\r\n0\r\n\r\nGET", Some(15)),
            ("0\r\n\r\n", Some(5)),
            ("5;a=b\r\nhello\r\n000;x\r\n\r\n\r\n", Some(23)),
            ("B\r\n0\r\n\r\n0\r\n\r\nx\r\n0\r\n\r\nrest", Some(21)),
            ("1\r\na\r\n0\r\na: b\r\nc: d\r\n\r\nrest", Some(23)),
            ("5\nhello\n0\n\nrest", Some(11)),
            ("5\r\nhello\r\n", None),
            ("5\r\nabc", None),
            ("ffffffffffffffffffffff\r\n0\r\n\r\n", None),
        ] {
            check(bytes, expected, Chunks::end);
        }
    }
}
