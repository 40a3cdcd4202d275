//! One record, one line: escaped, so that no message can forge another line, and cut, so that none floods.
use super::Format;
use log::Level;
use std::fmt::{self, Display, Write};

/// Longest message of a line in bytes, escapes included.
pub const MESSAGE_BYTES: usize = 8 * 1024;

/// Appends a record and its line break. `time` is shown as it is: RFC 3339 in UTC.
pub fn write_line(
    out: &mut String,
    format: Format,
    time: &impl Display,
    level: Level,
    target: &str,
    message: fmt::Arguments<'_>,
) {
    // A String takes every write; what fails is a Display of somebody else's, such as a clock
    // before all calendars; the line then holds what it wrote so far.
    match format {
        Format::Plain => {
            let _ = write!(out, "{time}");
            let _ = write!(out, " {level:<5} ");
            put(out, format, format_args!("{target}"));
            out.push_str(": ");
            put(out, format, message);
        }
        Format::Json => {
            let level = level.as_str().to_ascii_lowercase();
            out.push_str(r#"{"time":""#);
            let _ = write!(out, "{time}");
            let _ = write!(out, r#"","level":"{level}","target":""#);
            put(out, format, format_args!("{target}"));
            out.push_str(r#"","message":""#);
            put(out, format, message);
            out.push_str("\"}");
        }
    }
    out.push('\n');
}

/// Text with everything escaped that could end or repaint a line.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut escaper = Escaper { out: &mut out, json: false, room: usize::MAX, cut: 0 };
    let _ = escaper.write_str(text); // It never fails.
    out
}

fn put(out: &mut String, format: Format, message: fmt::Arguments<'_>) {
    let mut escaper = Escaper { out, json: format == Format::Json, room: MESSAGE_BYTES, cut: 0 };
    let _ = escaper.write_fmt(message);
    let cut = escaper.cut;
    if cut > 0 {
        let _ = write!(out, "… [{cut} bytes cut]");
    }
}

/// Passes text on, escaped, until the room is used up, and counts the rest.
struct Escaper<'a> {
    out: &'a mut String,
    json: bool,
    /// Bytes that may still be written.
    room: usize,
    /// Bytes that were not.
    cut: usize,
}

impl Write for Escaper<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (at, c) in text.char_indices() {
            let before = self.out.len();
            if self.cut == 0 {
                self.char(c);
            }
            let used = self.out.len() - before;
            if self.cut > 0 || used > self.room {
                self.out.truncate(before);
                self.cut += text.len() - at;
                return Ok(());
            }
            self.room -= used;
        }
        Ok(())
    }
}

impl Escaper<'_> {
    fn char(&mut self, c: char) {
        match c {
            '"' | '\\' if self.json => self.out.extend(['\\', c]),
            '\n' => self.out.push_str("\\n"),
            '\r' => self.out.push_str("\\r"),
            '\t' => self.out.push_str("\\t"),
            // A String takes every write. All of them fit in four digits.
            c if is_unsafe(c) && self.json => drop(write!(self.out, "\\u{:04x}", u32::from(c))),
            c if is_unsafe(c) => drop(write!(self.out, "\\u{{{:x}}}", u32::from(c))),
            c => self.out.push(c),
        }
    }
}

/// Control characters (terminals obey them), other line ends, and what turns the direction of text round.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
