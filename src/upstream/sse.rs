//! Server-sent events, cut into lines: bytes of any split in, whole lines out.
use std::mem;

use crate::chat::{RunError, RunErrorKind};
use memchr::memchr;

/// One line of an event stream, borrowed from the chunk that it came in where that is possible.
/// Bytes, not text: a character may be split over chunks, and only whole values can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// The end of an event.
    Blank,
    /// What follows the colon of a comment, as it came.
    Comment(&'a [u8]),
    /// A field; one space after the colon is taken off, and a line without colon has no value.
    Field { name: &'a [u8], value: &'a [u8] },
}

/// A line is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of the event stream is longer than {limit} bytes")]
pub struct LineTooLong {
    pub limit: usize,
}

impl From<LineTooLong> for RunError {
    fn from(error: LineTooLong) -> Self {
        RunError::new(RunErrorKind::UpstreamProtocol, error.to_string())
    }
}

/// Length of the prefix that is searched for the colon first, in bytes; beyond it a slower search is used.
const NAME_BYTES: usize = 8;

/// Cuts an event stream into lines (WHATWG HTML §9.2, server-sent events), with one deviation:
/// a line ends at LF or CRLF only. A lone CR is kept as part of the line, because no model
/// service ends lines so, and a decoder that must wait for what follows a CR delays each event.
///
/// Lines that lie whole inside a chunk are handed out in place. Only a line that is cut by the
/// end of a chunk is copied, and its buffer is gone as soon as the line is complete.
#[derive(Debug)]
pub struct Decoder {
    partial: Vec<u8>,
    line_bytes: usize,
    begun: bool,
}

impl Decoder {
    /// A decoder that refuses lines of more than `line_bytes` bytes, line end not counted.
    pub fn new(line_bytes: usize) -> Self {
        Decoder { partial: Vec::new(), line_bytes, begun: false }
    }

    /// Takes the next chunk and hands out each line that it completes, in order.
    ///
    /// # Errors
    /// [`LineTooLong`], or the first error of `on_line`. The decoder must not be fed after that.
    pub fn feed<E: From<LineTooLong>>(
        &mut self,
        chunk: &[u8],
        mut on_line: impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.feed_until(chunk, |line| on_line(line).map(|()| false)).map(|_| ())
    }

    /// Like [`Decoder::feed`], but stops after the first line for which `on_line` returns true. Returns the rest of the
    /// chunk, which has not been read.
    ///
    /// # Errors
    /// As there.
    pub fn feed_until<'a, E: From<LineTooLong>>(
        &mut self,
        chunk: &'a [u8],
        mut on_line: impl FnMut(Line<'_>) -> Result<bool, E>,
    ) -> Result<&'a [u8], E> {
        let mut rest = chunk;
        while let Some(end) = memchr(b'\n', rest) {
            let head = &rest[..end];
            rest = &rest[end + 1..];
            self.check_length(head)?;
            let stops = if self.partial.is_empty() {
                on_line(self.line(head))?
            } else {
                let mut whole = mem::take(&mut self.partial);
                whole.extend_from_slice(head);
                on_line(self.line(&whole))?
            };
            if stops {
                return Ok(rest);
            }
        }
        self.check_length(rest)?;
        self.partial.extend_from_slice(rest);
        Ok(&[])
    }

    /// The body has ended: hands out the last line if nothing ended it. The standard drops what
    /// no blank line ends; here the caller judges, as model services forget their last line end.
    ///
    /// # Errors
    /// Those of `on_line`.
    pub fn finish<E>(&mut self, mut on_line: impl FnMut(Line<'_>) -> Result<(), E>) -> Result<(), E> {
        let last = mem::take(&mut self.partial);
        if last.is_empty() { Ok(()) } else { on_line(self.line(&last)) }
    }

    /// Bytes held of a line that is not complete.
    pub fn held(&self) -> usize {
        self.partial.len()
    }

    /// Refuses before anything is copied, so that memory stays within the bound.
    fn check_length(&mut self, more: &[u8]) -> Result<(), LineTooLong> {
        if self.partial.len() + more.len() <= self.line_bytes {
            return Ok(());
        }
        self.partial = Vec::new();
        Err(LineTooLong { limit: self.line_bytes })
    }

    fn line<'a>(&mut self, mut line: &'a [u8]) -> Line<'a> {
        if !mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        line = line.strip_suffix(b"\r").unwrap_or(line);
        // A name is short: for so few bytes a loop is faster than a search.
        let near = line.iter().take(NAME_BYTES).position(|byte| *byte == b':');
        match near.or_else(|| memchr(b':', line)) {
            None if line.is_empty() => Line::Blank,
            None => Line::Field { name: line, value: b"" },
            Some(0) => Line::Comment(&line[1..]),
            Some(colon) => {
                let value = &line[colon + 1..];
                Line::Field { name: &line[..colon], value: value.strip_prefix(b" ").unwrap_or(value) }
            }
        }
    }
}

#[cfg(test)]
mod tests;
