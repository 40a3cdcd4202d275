//! The text forms of values: how each kind is read, checked and shown.
use super::{address, links};
use crate::logging::Format;
use secrecy::SecretString;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use url::Url;

/// How a key's text form is read, and what is allowed.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `500ms`, `30s`, `5m`, `1h`; from, to.
    Duration(Duration, Duration),
    /// `64KiB`, `1MiB`, `1GiB` or a plain number of bytes; from, to.
    Bytes(usize, usize),
    /// A whole number; from, to.
    Count(usize, usize),
    /// Any text up to so many bytes.
    Text(usize),
    /// One line of text for people, up to so many bytes.
    Line(usize),
    /// Visible ASCII without blanks; bytes from, to.
    Word(usize, usize),
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A key that is never shown.
    Secret,
    /// The name of a file, or nothing.
    Path,
    /// A base URL.
    Url,
    /// IP and port.
    Address,
    /// IP and port, or nothing.
    MaybeAddress,
    /// A list of origins.
    Origins,
    /// A list of host names.
    Hosts,
    /// A list of addresses and networks.
    Networks,
    /// A list of links with their labels.
    Links,
}

impl Kind {
    /// What is allowed, in words.
    pub fn allowed(&self) -> String {
        match *self {
            Kind::Duration(min, max) => {
                format!("a duration from {} to {}", show_duration(min), show_duration(max))
            }
            Kind::Bytes(min, max) => {
                format!("a size in bytes from {} to {}", show_bytes(min), show_bytes(max))
            }
            Kind::Count(min, max) => format!("a whole number from {min} to {max}"),
            Kind::Text(max) => format!("text of at most {}", show_bytes(max)),
            Kind::Line(max) => format!("one line of text of at most {max} bytes"),
            Kind::Word(min, max) => format!("{min} to {max} visible ASCII characters without blanks"),
            Kind::Bool => "`true` or `false`".to_owned(),
            Kind::Choice(names) => format!("`{}`", names.join("`, `")),
            Kind::Secret => "visible ASCII characters without blanks and quotes".to_owned(),
            Kind::Path => "the name of a file, or empty".to_owned(),
            Kind::Url => "`https://host[:port][/path]`".to_owned(),
            Kind::Address => "IP:port such as `0.0.0.0:8000` or `[::]:8000`".to_owned(),
            Kind::MaybeAddress => "IP:port such as `127.0.0.1:9000`, or empty".to_owned(),
            Kind::Origins => "a list of `https://host[:port]`".to_owned(),
            Kind::Hosts => "a list of host names such as `chat.example.com`".to_owned(),
            Kind::Networks => "a list of addresses and networks such as `10.0.0.0/8`".to_owned(),
            Kind::Links => {
                "a list of at most 8 `label=https://host/path`; `http:` and `mailto:` too".to_owned()
            }
        }
    }

    /// Whether this text may stand in an error: never a key, nor an address that may carry one.
    pub(super) fn may_show(&self, text: &str) -> bool {
        match self {
            Kind::Secret => false,
            Kind::Url | Kind::Origins | Kind::Hosts | Kind::Links => !text.contains(['@', '?', '#']),
            _ => true,
        }
    }

    /// Whether the file may spell the value as an array.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Kind::Origins | Kind::Hosts | Kind::Networks | Kind::Links)
    }

    /// Whether the file may spell the value as a bare number.
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Kind::Duration(..) | Kind::Bytes(..) | Kind::Count(..))
    }
}

/// A Rust type that a key can have.
pub(super) trait Setting: Sized {
    /// Reads the text form. The error says what is wrong and never repeats the text.
    fn read(text: &str, kind: &Kind) -> Result<Self, String>;
    /// The text form again; secrets as `(set)` or `(not set)`.
    fn show(&self, kind: &Kind) -> String;
}

fn in_range<T: PartialOrd>(value: T, min: T, max: T) -> Result<T, String> {
    if value < min || value > max { Err("out of range".to_owned()) } else { Ok(value) }
}

/// Reads `500ms`, `30s`, `5m` or `1h`: one whole number, one unit.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text, "a duration")?;
    let scale = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => return Err("unit missing (ms, s, m or h)".to_owned()),
        _ => return Err("unknown unit (ms, s, m or h)".to_owned()),
    };
    number.checked_mul(scale).map(Duration::from_millis).ok_or_else(|| "out of range".to_owned())
}

/// Reads `64KiB` and its like. `KB` is refused, because it means 1000 to one reader and 1024 to another.
fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = number_and_unit(text, "a size")?;
    let scale = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("unknown unit (B, KiB, MiB or GiB)".to_owned()),
    };
    let bytes = number.checked_mul(scale).and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| "out of range".to_owned())
}

fn number_and_unit<'a>(text: &'a str, what: &str) -> Result<(u64, &'a str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if digits.is_empty() || unit.contains(|c: char| !c.is_ascii_alphabetic()) {
        return Err(format!("not {what}"));
    }
    // Only too many digits are left to fail here.
    let number = digits.parse().map_err(|_| "out of range".to_owned())?;
    Ok((number, unit))
}

/// The largest unit that loses nothing; minutes only from ten on, so that `300s` stays what it was.
fn show_duration(value: Duration) -> String {
    match value.as_millis() {
        ms if ms % 3_600_000 == 0 && ms > 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 && ms >= 600_000 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

fn show_bytes(value: usize) -> String {
    match value {
        v if v > 0 && v % (1 << 30) == 0 => format!("{}GiB", v >> 30),
        v if v > 0 && v % (1 << 20) == 0 => format!("{}MiB", v >> 20),
        v if v > 0 && v % (1 << 10) == 0 => format!("{}KiB", v >> 10),
        v => v.to_string(),
    }
}

impl Setting for Duration {
    fn read(text: &str, kind: &Kind) -> Result<Self, String> {
        let value = duration(text.trim())?;
        if let Kind::Duration(min, max) = *kind { in_range(value, min, max) } else { Ok(value) }
    }
    fn show(&self, _: &Kind) -> String {
        show_duration(*self)
    }
}

impl Setting for usize {
    fn read(text: &str, kind: &Kind) -> Result<Self, String> {
        let text = text.trim();
        match *kind {
            Kind::Bytes(min, max) => in_range(bytes(text)?, min, max),
            Kind::Count(min, max) => match number_and_unit(text, "a whole number")? {
                (number, "") => in_range(usize::try_from(number).unwrap_or(usize::MAX), min, max),
                _ => Err("not a whole number".to_owned()),
            },
            _ => Err("not a number".to_owned()),
        }
    }
    fn show(&self, kind: &Kind) -> String {
        if matches!(kind, Kind::Bytes(..)) { show_bytes(*self) } else { self.to_string() }
    }
}

impl Setting for u32 {
    fn read(text: &str, kind: &Kind) -> Result<Self, String> {
        u32::try_from(usize::read(text, kind)?).map_err(|_| "out of range".to_owned())
    }
    fn show(&self, _: &Kind) -> String {
        self.to_string()
    }
}

impl Setting for bool {
    fn read(text: &str, _: &Kind) -> Result<Self, String> {
        match text.trim() {
            "" => Err("is empty".to_owned()),
            text => text.parse().map_err(|_| "neither true nor false".to_owned()),
        }
    }
    fn show(&self, _: &Kind) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn read(text: &str, kind: &Kind) -> Result<Self, String> {
        match *kind {
            Kind::Line(max) => links::line(text, max),
            Kind::Word(min, _) if text.is_empty() && min > 0 => Err("is empty".to_owned()),
            Kind::Word(_, max) | Kind::Text(max) if text.len() > max => Err("too long".to_owned()),
            // It goes into a header or a path, where anything else would be a hole.
            Kind::Word(..) if !text.bytes().all(|b| b.is_ascii_graphic()) => {
                Err("has a character that is not allowed".to_owned())
            }
            _ => Ok(text.to_owned()),
        }
    }
    fn show(&self, _: &Kind) -> String {
        self.clone()
    }
}

impl Setting for Option<PathBuf> {
    fn read(text: &str, _: &Kind) -> Result<Self, String> {
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }
    fn show(&self, _: &Kind) -> String {
        self.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }
}

impl Setting for SocketAddr {
    fn read(text: &str, _: &Kind) -> Result<Self, String> {
        match text.trim() {
            "" => Err("is empty".to_owned()),
            text => text.parse().map_err(|_| "not an IP address with a port".to_owned()),
        }
    }
    fn show(&self, _: &Kind) -> String {
        self.to_string()
    }
}

impl Setting for Option<SocketAddr> {
    fn read(text: &str, kind: &Kind) -> Result<Self, String> {
        if text.trim().is_empty() { Ok(None) } else { SocketAddr::read(text, kind).map(Some) }
    }
    fn show(&self, _: &Kind) -> String {
        self.map(|address| address.to_string()).unwrap_or_default()
    }
}

impl Setting for Url {
    fn read(text: &str, _: &Kind) -> Result<Self, String> {
        address::base_url(text.trim())
    }
    fn show(&self, _: &Kind) -> String {
        self.to_string()
    }
}

/// Longest key that is believed to be one.
const SECRET_BYTES: usize = 4096;

impl Setting for Option<SecretString> {
    /// Nothing for empty text: only the table's default is; layers refuse an empty key before.
    fn read(text: &str, _: &Kind) -> Result<Self, String> {
        // Editors and `echo` end a file with a line break.
        let text = text.trim_end_matches(['\r', '\n']);
        let problem = if text.contains(['\r', '\n']) {
            "has more than one line"
        } else if text.contains(char::is_whitespace) {
            "has a blank in it"
        } else if text.contains(['"', '\'', '`']) {
            "has quotes in it; give the key without them"
        } else if !text.bytes().all(|b| b.is_ascii_graphic()) {
            "has a character that no key has"
        } else if text.len() > SECRET_BYTES {
            "too long for a key"
        } else {
            return Ok((!text.is_empty()).then(|| SecretString::from(text)));
        };
        Err(problem.to_owned())
    }
    fn show(&self, _: &Kind) -> String {
        if self.is_some() { "(set)" } else { "(not set)" }.to_owned()
    }
}

/// An enum whose values are words of the configuration.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// The words, in the order of [`Choice::VALUES`].
    const NAMES: &'static [&'static str];
    const VALUES: &'static [Self];
}

impl<T: Choice> Setting for T {
    fn read(text: &str, _: &Kind) -> Result<Self, String> {
        let text = text.trim();
        let found = T::NAMES.iter().zip(T::VALUES).find(|(name, _)| **name == text);
        let problem = if text.is_empty() { "is empty" } else { "not one of the words" };
        found.map(|(_, value)| *value).ok_or_else(|| problem.to_owned())
    }
    fn show(&self, _: &Kind) -> String {
        let found = T::NAMES.iter().zip(T::VALUES).find(|(_, value)| *value == self);
        found.map(|(name, _)| (*name).to_owned()).unwrap_or_default()
    }
}

/// Which endpoint of DashScope is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// By the name of the model.
    Auto,
    /// `text-generation`.
    Text,
    /// `multimodal-generation`.
    Multimodal,
}

impl Choice for Endpoint {
    const NAMES: &'static [&'static str] = &["auto", "text", "multimodal"];
    const VALUES: &'static [Self] = &[Endpoint::Auto, Endpoint::Text, Endpoint::Multimodal];
}

/// Whether the model is asked to think before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// Nothing is sent; the model's own habit.
    Default,
    On,
    Off,
}

impl Choice for Thinking {
    const NAMES: &'static [&'static str] = &["default", "on", "off"];
    const VALUES: &'static [Self] = &[Thinking::Default, Thinking::On, Thinking::Off];
}

impl Choice for Format {
    const NAMES: &'static [&'static str] = &["plain", "json"];
    const VALUES: &'static [Self] = &[Format::Plain, Format::Json];
}
