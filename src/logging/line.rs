//! Formats a record as one line of message and fields. Texts are escaped, so that none can forge another line or field,
//! and truncated, so that none floods the log.
use super::Format;
use log::{
    Record,
    kv::{self, Error, Key, Value, VisitSource, VisitValue},
};
use std::fmt::{self, Display, Write};

/// Maximum bytes of a message, including escapes; the rest is replaced by its length.
pub const MESSAGE_BYTES: usize = 8 * 1024;
/// Maximum bytes of a field's key or value, including escapes; the rest is replaced by its length.
pub const VALUE_BYTES: usize = 2 * 1024;

/// Keys of a JSON line that are not fields of the record. A field with such a name gets an underscore appended.
const RESERVED: [&str; 4] = ["time", "level", "target", "message"];

/// Appends a record and a line break. `time` is written unchanged: RFC 3339 in UTC.
///
/// Plain: `time LEVEL target: message key=value key="a value"`. JSON: one object, with a key for each field. Fields
/// without a value (`None`) are omitted.
pub fn write_line(out: &mut String, format: Format, time: &impl Display, record: &Record<'_>) {
    // Writing to a String cannot fail, but a Display implementation can, such as that of a time out of range. The line
    // then contains what was written before the error.
    match format {
        Format::Plain => {
            let _ = write!(out, "{time}");
            let _ = write!(out, " {:<5} ", record.level());
            put(out, format, MESSAGE_BYTES, format_args!("{}", record.target()));
            out.push_str(": ");
            put(out, format, MESSAGE_BYTES, *record.args());
            let _ = record.key_values().visit(&mut PlainFields(out));
        }
        Format::Json => {
            let level = record.level().as_str().to_ascii_lowercase();
            out.push_str(r#"{"time":""#);
            let _ = write!(out, "{time}");
            let _ = write!(out, r#"","level":"{level}","target":""#);
            put(out, format, MESSAGE_BYTES, format_args!("{}", record.target()));
            out.push_str(r#"","message":""#);
            put(out, format, MESSAGE_BYTES, *record.args());
            out.push('"');
            let _ = record.key_values().visit(&mut JsonFields(out));
            out.push('}');
        }
    }
    out.push('\n');
}

/// Escapes all characters that could end a line or change its appearance in a terminal.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut escaper = Escaper { out: &mut out, quoted: false, json: false, room: usize::MAX, cut: 0 };
    let _ = escaper.write_str(text); // Cannot fail.
    out
}

fn put(out: &mut String, format: Format, room: usize, text: fmt::Arguments<'_>) {
    let json = format == Format::Json;
    put_escaped(Escaper { out, quoted: json, json, room, cut: 0 }, text);
}

fn put_escaped(mut escaper: Escaper<'_>, text: fmt::Arguments<'_>) {
    let _ = escaper.write_fmt(text);
    let Escaper { cut, out, .. } = escaper;
    if cut > 0 {
        let _ = write!(out, "… [{cut} bytes cut]");
    }
}

/// Appends ` key=value`; the value in quotes if it is empty or could be read as several.
struct PlainFields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for PlainFields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if is_absent(&value) {
            return Ok(());
        }
        let out = &mut *self.0;
        out.push(' ');
        put(out, Format::Plain, VALUE_BYTES, format_args!("{key}"));
        out.push('=');
        let start = out.len();
        let escaper = Escaper { out, quoted: true, json: false, room: VALUE_BYTES, cut: 0 };
        put_escaped(escaper, format_args!("{value}"));
        let is_ambiguous = |c: char| c.is_whitespace() || matches!(c, '"' | '\\' | '=');
        if out.len() == start || out[start..].contains(is_ambiguous) {
            out.insert(start, '"');
            out.push('"');
        }
        Ok(())
    }
}

/// Appends `,"key":value`.
struct JsonFields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for JsonFields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        if is_absent(&value) {
            return Ok(());
        }
        self.0.push_str(",\"");
        put(self.0, Format::Json, VALUE_BYTES, format_args!("{key}"));
        let underscore = if RESERVED.contains(&key.as_str()) { "_" } else { "" };
        let _ = write!(self.0, "{underscore}\":");
        value.visit(JsonValue(self.0))
    }
}

/// Writes numbers and booleans as such, everything else as a string.
struct JsonValue<'a>(&'a mut String);

impl<'v> VisitValue<'v> for JsonValue<'_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.0.push('"');
        put(self.0, Format::Json, VALUE_BYTES, format_args!("{value}"));
        self.0.push('"');
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        Ok(write!(self.0, "{value}")?)
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        Ok(write!(self.0, "{value}")?)
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        Ok(write!(self.0, "{value}")?)
    }
}

/// Whether a field has no value.
fn is_absent(value: &kv::Value<'_>) -> bool {
    struct Absence(bool);

    impl<'v> VisitValue<'v> for Absence {
        fn visit_any(&mut self, _: Value<'_>) -> Result<(), Error> {
            Ok(())
        }

        fn visit_null(&mut self) -> Result<(), Error> {
            self.0 = true;
            Ok(())
        }
    }

    let mut absence = Absence(false);
    value.visit(&mut absence).is_ok() && absence.0
}

/// Writes escaped text up to a limit, and counts the rest. It escapes more than JSON requires and counts bytes per
/// character, so it does not use [`crate::json`].
struct Escaper<'a> {
    out: &'a mut String,
    /// Whether quotes and backslashes are escaped.
    quoted: bool,
    /// Whether the escapes are those of JSON.
    json: bool,
    /// Bytes that may still be written.
    room: usize,
    /// Bytes that were cut.
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
            '"' | '\\' if self.quoted => self.out.extend(['\\', c]),
            '\n' => self.out.push_str("\\n"),
            '\r' => self.out.push_str("\\r"),
            '\t' => self.out.push_str("\\t"),
            // Writing to a String cannot fail. All of these characters fit in four digits.
            c if is_unsafe(c) && self.json => drop(write!(self.out, "\\u{:04x}", u32::from(c))),
            c if is_unsafe(c) => drop(write!(self.out, "\\u{{{:x}}}", u32::from(c))),
            c => self.out.push(c),
        }
    }
}

/// Control characters, which terminals interpret, other line ends, and characters that change the direction of text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
