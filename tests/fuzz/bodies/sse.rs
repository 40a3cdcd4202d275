//! The event-stream decoder: any split gives the lines of a simple reading, and nothing beyond the bound is held.
use super::{Choices, pieces};
use tidegate::upstream::sse::{Decoder, Line, LineTooLong};

#[derive(Debug, PartialEq)]
enum Decoded {
    Blank,
    Comment(Vec<u8>),
    Field(Vec<u8>, Vec<u8>),
    TooLong,
}

impl From<Line<'_>> for Decoded {
    fn from(line: Line<'_>) -> Self {
        match line {
            Line::Blank => Decoded::Blank,
            Line::Comment(text) => Decoded::Comment(text.to_vec()),
            Line::Field { name, value } => Decoded::Field(name.to_vec(), value.to_vec()),
        }
    }
}

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let limit = match choices.byte() {
        0xff => 1 << 20,
        small => usize::from(small),
    };
    let most = choices.byte();
    let stream = choices.rest();
    let expected = simply(stream, limit);
    assert_eq!(decoded(&[stream], limit), expected, "in one piece");
    assert_eq!(decoded(&pieces(stream, most), limit), expected, "in pieces of up to {most}");
}

fn decoded(chunks: &[&[u8]], limit: usize) -> Vec<Decoded> {
    let mut decoder = Decoder::new(limit);
    let mut lines = Vec::new();
    for chunk in chunks {
        let fed = decoder.feed(chunk, |line| {
            lines.push(Decoded::from(line));
            Ok::<(), LineTooLong>(())
        });
        assert!(decoder.held() <= limit, "{} bytes held", decoder.held());
        if fed.is_err() {
            lines.push(Decoded::TooLong);
            return lines;
        }
    }
    let last = decoder.finish(|line| {
        lines.push(Decoded::from(line));
        Ok::<(), LineTooLong>(())
    });
    assert_eq!(last, Ok(()));
    assert_eq!(decoder.held(), 0);
    lines
}

/// The same by hand: all lines, then each by itself.
fn simply(stream: &[u8], limit: usize) -> Vec<Decoded> {
    let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop(); // What follows the last line end is no line.
    }
    let mut decoded = Vec::new();
    for (at, mut line) in lines.into_iter().enumerate() {
        if line.len() > limit {
            decoded.push(Decoded::TooLong);
            break;
        }
        if at == 0 && line.starts_with("\u{feff}".as_bytes()) {
            line = &line[3..];
        }
        if line.last() == Some(&b'\r') {
            line = &line[..line.len() - 1];
        }
        decoded.push(match line.iter().position(|byte| *byte == b':') {
            None if line.is_empty() => Decoded::Blank,
            None => Decoded::Field(line.to_vec(), Vec::new()),
            Some(0) => Decoded::Comment(line[1..].to_vec()),
            Some(colon) => {
                let value = &line[colon + 1..];
                let skip = usize::from(value.first() == Some(&b' '));
                Decoded::Field(line[..colon].to_vec(), value[skip..].to_vec())
            }
        });
    }
    decoded
}
