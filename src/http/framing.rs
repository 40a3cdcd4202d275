//! Finds the end of a request in a stream of bytes (RFC 9112 §2.1, §6, §7.1). Pure.
//!
//! The library's parser interprets the request; this module only limits how far the parser reads. Where the two
//! disagree, the parser waits for more bytes or rejects what it got.

/// The body that a head announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Finds the end of a head: the first empty line after a line that is not empty.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// There was a non-empty line.
    started: bool,
    /// The current line is not empty.
    line: bool,
}

impl HeadScan {
    /// If the head ends within these bytes: how many of them belong to it.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if self.started && !self.line => return Some(at + 1),
                b'\n' => {
                    self.started |= self.line;
                    self.line = false;
                }
                b'\r' => {}
                _ => self.line = true,
            }
        }
        None
    }
}

/// Finds the end of a chunked body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChunkScan {
    state: ChunkState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    /// In the digits of a chunk's length; the length so far.
    Size(u64),
    /// After the digits, on the same line; the chunk's length.
    Extension(u64),
    /// In a chunk; the bytes that are left of it.
    Data(u64),
    /// In the line end after a chunk.
    DataEnd,
    /// After the last chunk; whether the current line is not empty.
    Trailer(bool),
}

impl Default for ChunkState {
    fn default() -> Self {
        ChunkState::Size(0)
    }
}

impl ChunkScan {
    /// If the body ends within these bytes: how many of them belong to it.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut next = 0;
        while let Some(byte) = bytes.get(next) {
            next += 1;
            self.state = match self.state {
                ChunkState::Size(size) | ChunkState::Extension(size) if *byte == b'\n' => match size {
                    0 => ChunkState::Trailer(false),
                    _ => ChunkState::Data(size),
                },
                ChunkState::Size(size) => match char::from(*byte).to_digit(16) {
                    // A length that overflows saturates: such a chunk never ends.
                    Some(digit) => ChunkState::Size(size.saturating_mul(16).saturating_add(digit.into())),
                    None => ChunkState::Extension(size),
                },
                ChunkState::Extension(size) => ChunkState::Extension(size),
                ChunkState::Data(left) => {
                    let here = (bytes.len() - next + 1).min(usize::try_from(left).unwrap_or(usize::MAX));
                    next += here - 1;
                    match left - here as u64 {
                        0 => ChunkState::DataEnd,
                        left => ChunkState::Data(left),
                    }
                }
                ChunkState::DataEnd if *byte == b'\n' => ChunkState::Size(0),
                ChunkState::DataEnd => ChunkState::DataEnd,
                ChunkState::Trailer(false) if *byte == b'\n' => return Some(next),
                ChunkState::Trailer(line) => ChunkState::Trailer(*byte != b'\n' && (line || *byte != b'\r')),
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks where the end is found, in one piece and byte by byte.
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
            check(bytes, expected, ChunkScan::end);
        }
    }
}
