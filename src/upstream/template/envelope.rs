//! The lines around the data of an event, learned from one event and compared with the next.
use memchr::memchr;
use std::ops::Range;

/// Maximum digits of an event's number.
const DIGITS_MAX: usize = 20;

/// The lines of an event before its data, including `data:` itself. The number in an `id:` line is a hole, because it
/// counts the events and no dialect reads it. All other bytes must be equal, so they have the same meaning.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    /// The bytes before the number, or all of them if there is none.
    begin: Box<[u8]>,
    /// The bytes after the number.
    behind: Option<Box<[u8]>>,
}

impl Envelope {
    /// The envelope of a whole event, and its data. `None` unless the data is a single line right before the blank
    /// line, preceded only by comments and by fields without data.
    pub(super) fn of(event: &[u8]) -> Option<(Envelope, &[u8])> {
        if !(event.ends_with(b"\n\n") || event.ends_with(b"\n\r\n")) {
            return None; // The common case: it ends with the network read.
        }
        let (mut at, mut number) = (0, None);
        for line in event.split_inclusive(|byte| *byte == b'\n') {
            if let Some(value) = line.strip_prefix(b"data:") {
                let value = value_at(at + line.len(), value);
                let length = memchr(b'\n', &event[value..])?;
                let data = &event[value..value + length];
                let data = data.strip_suffix(b"\r").unwrap_or(data);
                let behind = value + data.len();
                if end(&event[behind..])? != event.len() - behind {
                    return None;
                }
                return Some((Envelope::around(&event[..value], number), data));
            }
            if let Some(value) = line.strip_prefix(b"id:") {
                let value = value_at(at + line.len(), value);
                let digits = digits(&event[value..]);
                if digits > 0 && matches!(event.get(value + digits), Some(b'\r' | b'\n')) {
                    number = Some(value..value + digits);
                }
            } else if ![&b":"[..], b"event:", b"retry:"].iter().any(|field| line.starts_with(field)) {
                return None;
            }
            at += line.len();
        }
        None
    }

    fn around(head: &[u8], number: Option<Range<usize>>) -> Envelope {
        match number {
            None => Envelope { begin: head.into(), behind: None },
            Some(number) => {
                Envelope { begin: head[..number.start].into(), behind: Some(head[number.end..].into()) }
            }
        }
    }

    /// The offset of the data if `bytes` begin with this envelope.
    pub(super) fn open(&self, bytes: &[u8]) -> Option<usize> {
        let rest = bytes.strip_prefix(&*self.begin)?;
        let Some(behind) = &self.behind else { return Some(self.begin.len()) };
        let digits = digits(rest);
        let rest = rest[digits..].strip_prefix(&**behind).filter(|_| digits > 0)?;
        Some(bytes.len() - rest.len())
    }
}

/// The offset of a field's value, without the blank that may precede it, in a line that ends at `line_end`.
fn value_at(line_end: usize, value: &[u8]) -> usize {
    line_end - value.strip_prefix(b" ").unwrap_or(value).len()
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take(DIGITS_MAX).take_while(|byte| byte.is_ascii_digit()).count()
}

/// The length of a line end and a blank line.
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\n', b'\n', ..] => Some(2),
        [b'\r', b'\n', b'\r', b'\n', ..] => Some(4),
        _ => None,
    }
}
