//! Variants of a frame's syntax: line ends, spaces, comments, fields.

/// How frames are written. The default is the service's format, byte for byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spelling {
    pub line_end: LineEnd,
    /// As the dialect does where `None`: not in DashScope's.
    pub space_after_colon: Option<bool>,
    pub no_blank_lines: bool,
    /// Omit the blank line after the last frame only.
    pub no_last_blank: bool,
    pub comments: bool,
    pub unknown_fields: bool,
    pub no_id: bool,
    /// Write a payload over several `data:` lines, split after its commas.
    pub many_data_lines: bool,
    pub bom: bool,
}

/// The end of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEnd {
    #[default]
    Lf,
    CrLf,
    /// CR alone, which the standard allows and no service sends.
    Cr,
    /// Alternating LF and CRLF.
    Mixed,
}

impl Spelling {
    /// Whether frames are sent as built.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Spelling { bom: self.bom, no_last_blank: self.no_last_blank, ..Spelling::default() }
    }

    /// Rewrites a frame in this format. Payloads contain no line feed, because JSON escapes it.
    pub(crate) fn respell(&self, frame: &[u8], out: &mut Vec<u8>) {
        let mut lines = 0_usize;
        let mut end = |out: &mut Vec<u8>| {
            lines += 1;
            out.extend_from_slice(match self.line_end {
                LineEnd::Lf => b"\n",
                LineEnd::CrLf => b"\r\n",
                LineEnd::Cr => b"\r",
                LineEnd::Mixed if lines.is_multiple_of(2) => b"\r\n",
                LineEnd::Mixed => b"\n",
            });
        };
        if self.comments {
            for comment in [":", ": a comment", ":data:{\"not\":\"data\"}", "::"] {
                out.extend_from_slice(comment.as_bytes());
                end(out);
            }
        }
        if self.unknown_fields {
            for field in ["retry:3000", "colour:blue", "colour", "data_:x"] {
                out.extend_from_slice(field.as_bytes());
                end(out);
            }
        }
        let body = frame.strip_suffix(b"\n").unwrap_or(frame);
        for line in body.split(|byte| *byte == b'\n') {
            match line {
                b"" if self.no_blank_lines => {}
                line if self.no_id && line.starts_with(b"id:") => {}
                line => self.line(line, out, &mut end),
            }
        }
    }

    fn line(&self, line: &[u8], out: &mut Vec<u8>, end: &mut impl FnMut(&mut Vec<u8>)) {
        match line.strip_prefix(b"data:") {
            Some(payload) if self.many_data_lines => {
                for part in split_json(payload) {
                    self.field(b"data", part, out);
                    end(out);
                }
            }
            _ => {
                let colon = line.iter().position(|byte| *byte == b':').unwrap_or(0);
                if colon == 0 {
                    out.extend_from_slice(line);
                } else {
                    self.field(&line[..colon], &line[colon + 1..], out);
                }
                end(out);
            }
        }
    }

    fn field(&self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(name);
        out.push(b':');
        if self.space_after_colon == Some(true) {
            out.push(b' ');
        }
        out.extend_from_slice(value);
    }
}

/// Splits JSON after commas outside its strings, where a line feed is harmless.
fn split_json(payload: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut from) = (Vec::new(), 0);
    let (mut in_string, mut escaped) = (false, false);
    for (at, byte) in payload.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' if !in_string => {
                parts.push(&payload[from..=at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&payload[from..]);
    parts
}
