//! The kinds of values of keys: what is allowed, and the trait of their Rust types.
use super::units::{show_bytes, show_duration};
use std::time::Duration;

/// How a key's text form is parsed, and what is allowed.
#[derive(Clone, Copy, Debug)]
pub enum ValueKind {
    /// `500ms`, `30s`, `5m`, `1h`; from, to.
    Duration(Duration, Duration),
    /// A duration, or nothing; from, to.
    MaybeDuration(Duration, Duration),
    /// `64KiB`, `1MiB`, `1GiB` or a plain number of bytes; from, to.
    Bytes(usize, usize),
    /// A whole number; from, to.
    Count(usize, usize),
    /// Any text; maximum length in bytes.
    Text(usize),
    /// One line of text for people; maximum length in bytes.
    Line(usize),
    /// Visible ASCII without blanks; bytes from, to.
    Word(usize, usize),
    /// A list of names of visible ASCII characters without blanks; entries to.
    Names(usize),
    /// A number with or without decimals, or nothing; from, to.
    Decimal(f32, f32),
    /// A number above 0 and at most 1, or nothing.
    Share,
    /// The name of an environment variable, or nothing.
    Variable,
    /// The address of an HTTP proxy, `none`, or nothing.
    Proxy,
    /// A list of some of these words.
    Subset(&'static [&'static str]),
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
    /// A list of levels of targets.
    Targets,
    /// A list of names of sections; entries to.
    Sections(usize),
    /// One of these words, or nothing: then the service's row decides.
    ByService(&'static [&'static str]),
    /// A list of headers, which are never shown.
    Headers,
    /// The fields of a JSON object.
    Fields,
    /// A price for a million tokens, or nothing.
    Price,
    /// The code of a currency, or nothing.
    Currency,
}

impl ValueKind {
    /// What is allowed, in words.
    pub fn allowed(&self) -> String {
        match *self {
            ValueKind::Duration(min, max) => {
                format!("a duration from {} to {}", show_duration(min), show_duration(max))
            }
            ValueKind::MaybeDuration(min, max) => {
                format!("a duration from {} to {}, or empty", show_duration(min), show_duration(max))
            }
            ValueKind::Bytes(min, max) => {
                format!("a size in bytes from {} to {}", show_bytes(min), show_bytes(max))
            }
            ValueKind::Count(min, max) => format!("a whole number from {min} to {max}"),
            ValueKind::Text(max) => format!("text of at most {}", show_bytes(max)),
            ValueKind::Line(max) => format!("one line of text of at most {max} bytes"),
            ValueKind::Word(min, max) => format!("{min} to {max} visible ASCII characters without blanks"),
            ValueKind::Names(max) => {
                format!("a list of at most {max} names of 1 to 128 visible ASCII characters without blanks")
            }
            ValueKind::Decimal(min, max) => format!("a number from {min} to {max}, or empty"),
            ValueKind::Share => "a number above 0 and at most 1, or empty".to_owned(),
            ValueKind::Variable => "the name of an environment variable, or empty".to_owned(),
            ValueKind::Proxy => "`http://host:port`, `none`, or empty".to_owned(),
            ValueKind::Subset(names) => format!("a list of some of `{}`", names.join("`, `")),
            ValueKind::Bool => "`true` or `false`".to_owned(),
            ValueKind::Choice(names) => format!("`{}`", names.join("`, `")),
            ValueKind::Secret => {
                "visible ASCII characters without blanks and quotes; several keys with commas between them"
                    .to_owned()
            }
            ValueKind::Path => "the name of a file, or empty".to_owned(),
            ValueKind::Url => "`https://host[:port][/path]`".to_owned(),
            ValueKind::Address => "IP:port such as `0.0.0.0:8000` or `[::]:8000`".to_owned(),
            ValueKind::MaybeAddress => "IP:port such as `127.0.0.1:9000`, or empty".to_owned(),
            ValueKind::Origins => "a list of `https://host[:port]`".to_owned(),
            ValueKind::Hosts => "a list of host names such as `chat.example.com`".to_owned(),
            ValueKind::Networks => "a list of addresses and networks such as `10.0.0.0/8`".to_owned(),
            ValueKind::ByService(names) => {
                format!("`{}`, or empty = as the service needs it", names.join("`, `"))
            }
            ValueKind::Headers => "a list of at most 16 `Name: value`".to_owned(),
            ValueKind::Fields => "a JSON object of at most 16KiB, or empty".to_owned(),
            ValueKind::Links => {
                "a list of at most 8 `label=https://host/path`; `http:` and `mailto:` too".to_owned()
            }
            ValueKind::Targets => {
                "a list of at most 8 levels, each of `UPSTREAM[:NAME THERE][*WEIGHT]` with blanks \
                                   between them, at most 16 in all"
                    .to_owned()
            }
            ValueKind::Price => {
                "a decimal number from 0 to 1000000000 with at most 6 decimal places, or empty".to_owned()
            }
            ValueKind::Currency => "three capital letters such as `CNY`, or empty".to_owned(),
            ValueKind::Sections(max) => format!("a list of at most {max} names of sections"),
        }
    }

    /// Whether this text may appear in an error: never a key, or an address that may contain one.
    pub(super) fn may_show(&self, text: &str) -> bool {
        match self {
            ValueKind::Secret | ValueKind::Headers => false,
            ValueKind::Proxy | ValueKind::Variable => !text.contains(['@', '-']),
            ValueKind::Url | ValueKind::Origins | ValueKind::Hosts | ValueKind::Links => {
                !text.contains(['@', '?', '#'])
            }
            _ => true,
        }
    }

    /// Whether the value may be an array in the file.
    pub(super) fn is_list(&self) -> bool {
        matches!(
            self,
            ValueKind::Origins
                | ValueKind::Hosts
                | ValueKind::Networks
                | ValueKind::Links
                | ValueKind::Names(_)
                | ValueKind::Targets
                | ValueKind::Subset(_)
                | ValueKind::Sections(_)
                | ValueKind::Headers
        )
    }

    /// Whether the value may be a bare number in the file.
    pub(super) fn is_number(&self) -> bool {
        matches!(self, ValueKind::Duration(..) | ValueKind::Bytes(..) | ValueKind::Count(..))
            || self.is_decimal()
    }

    /// Whether the value may be a bare number with decimals in the file.
    pub(super) fn is_decimal(&self) -> bool {
        matches!(self, ValueKind::Decimal(..) | ValueKind::Share | ValueKind::Price)
    }
}

/// A Rust type that a key can have.
pub(super) trait Setting: Sized {
    /// Parses the text form. The error describes the fault and never repeats the text.
    fn read(text: &str, kind: &ValueKind) -> Result<Self, String>;
    /// The value in text form; secrets as `(set)` or `(not set)`.
    fn show(&self, kind: &ValueKind) -> String;
}
