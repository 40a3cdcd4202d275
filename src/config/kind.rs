//! The kinds of values that keys have: what is allowed, and what a Rust type offers to be one.
use super::units::{show_bytes, show_duration};
use std::time::Duration;

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
