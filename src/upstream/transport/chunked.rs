//! Decodes the chunked transfer coding (RFC 9112 §7.1). Data is handed on as it comes: nothing is kept, whatever size a
//! chunk claims.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

/// Longest line with the size of a chunk, extensions included, in bytes; beyond it the body is malformed.
const SIZE_LINE_BYTES_MAX: u32 = 4 * 1024;
/// All trailer fields together, in bytes; beyond it the body is malformed.
const TRAILER_BYTES_MAX: u32 = 16 * 1024;

/// Where in a chunked body the decoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    SizeStart,
    Size,
    /// Blanks behind a size (RFC 9112 §7.1.1 calls them bad and has them accepted).
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a line behind the last chunk: a trailer field, or the empty line.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

/// The body is not what RFC 9112 calls chunked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::upstream) enum ChunkedError {
    #[error("a chunk has no valid size")]
    Size,
    #[error("the size of a chunk is beyond 64 bits")]
    Overflow,
    #[error("the extension of a chunk is malformed")]
    Extension,
    #[error("a chunk is not followed by a line end")]
    LineEnd,
    #[error("a trailer is malformed")]
    Trailer,
    #[error("the framing of a chunked body is too long")]
    TooLong,
}

/// The decoder of one body.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    /// The size of the chunk as it is read; then what is left of its data.
    left: u64,
    /// Bytes of the size line, or of all trailers.
    line: u32,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Chunked { state: State::SizeStart, left: 0, line: 0 }
    }

    /// Takes what was read next, and hands on the data in it. At the end of the body: how many of these bytes
    /// follow it.
    ///
    /// # Errors
    /// The body is malformed. What was handed on before stands in front of the fault.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        take: &mut impl FnMut(&[u8]),
    ) -> Result<Option<usize>, ChunkedError> {
        loop {
            if self.state == State::Data {
                let (data, rest) = match usize::try_from(self.left) {
                    Ok(left) if left <= bytes.len() => bytes.split_at(left),
                    _ => (bytes, &[][..]),
                };
                if !data.is_empty() {
                    take(data);
                }
                self.left = self.left.saturating_sub(data.len() as u64);
                if self.left > 0 {
                    return Ok(None);
                }
                self.state = State::DataCr;
                bytes = rest;
            }
            if self.state == State::End {
                return Ok(Some(bytes.len()));
            }
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(None) };
            self.state = self.step(byte)?;
            bytes = rest;
        }
    }

    /// The state behind a byte of the framing. Lines end with CR LF: a bare LF, which some readers take for a line end
    /// and others for part of the line, is malformed.
    fn step(&mut self, byte: u8) -> Result<State, ChunkedError> {
        use State::*;
        Ok(match (self.state, byte) {
            (SizeStart, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.left = u64::from(digit(byte));
                self.line = 1;
                Size
            }
            (Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.count(SIZE_LINE_BYTES_MAX)?;
                let shifted = self.left.checked_mul(16).ok_or(ChunkedError::Overflow)?;
                self.left = shifted | u64::from(digit(byte));
                Size
            }
            (Size | Blank, b' ' | b'\t') => {
                self.count(SIZE_LINE_BYTES_MAX)?;
                Blank
            }
            (Size | Blank, b';') => Extension,
            (Size | Blank | Extension, b'\r') => SizeLf,
            (SizeStart | Size | Blank, _) => return Err(ChunkedError::Size),
            (Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count(SIZE_LINE_BYTES_MAX)?;
                Extension
            }
            (Extension, _) => return Err(ChunkedError::Extension),
            (SizeLf, b'\n') if self.left > 0 => Data,
            (SizeLf, b'\n') => {
                self.line = 0;
                TrailerStart
            }
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => SizeStart,
            (SizeLf | DataCr | DataLf, _) => return Err(ChunkedError::LineEnd),
            (TrailerStart, b'\r') => EndLf,
            (Trailer, b'\r') => TrailerLf,
            (TrailerStart | Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count(TRAILER_BYTES_MAX)?;
                Trailer
            }
            (TrailerLf, b'\n') => TrailerStart,
            (EndLf, b'\n') => End,
            (TrailerStart | Trailer | TrailerLf | EndLf, _) => return Err(ChunkedError::Trailer),
            // No byte is given to these.
            (Data | End, _) => self.state,
        })
    }

    fn count(&mut self, max: u32) -> Result<(), ChunkedError> {
        self.line = self.line.saturating_add(1);
        if self.line > max { Err(ChunkedError::TooLong) } else { Ok(()) }
    }
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte.wrapping_sub(b'0'),
        _ => (byte | 0x20).wrapping_sub(b'a').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests;
