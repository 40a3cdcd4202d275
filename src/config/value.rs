//! The text forms of values: how each kind is parsed, checked and shown.
use super::{
    address::list,
    kind::{Setting, ValueKind},
    links,
    units::{bytes, show_bytes, show_duration},
};
use crate::{
    logging::Format,
    units::{duration, number_and_unit},
    upstream::{
        dashscope::Endpoint,
        route::{MidAnswer, plan::KeysLimited},
    },
};
use secrecy::{ExposeSecret, SecretString};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

fn in_range<T: PartialOrd>(value: T, min: T, max: T) -> Result<T, String> {
    if value < min || value > max { Err("out of range".to_owned()) } else { Ok(value) }
}

impl Setting for Duration {
    fn read(text: &str, kind: &ValueKind) -> Result<Self, String> {
        let value = duration(text.trim())?;
        if let ValueKind::Duration(min, max) = *kind { in_range(value, min, max) } else { Ok(value) }
    }
    fn show(&self, _: &ValueKind) -> String {
        show_duration(*self)
    }
}

impl Setting for Option<Duration> {
    fn read(text: &str, kind: &ValueKind) -> Result<Self, String> {
        let ValueKind::MaybeDuration(min, max) = *kind else { return Err("not a duration".to_owned()) };
        if text.trim().is_empty() {
            return Ok(None);
        }
        Duration::read(text, &ValueKind::Duration(min, max)).map(Some)
    }
    fn show(&self, _: &ValueKind) -> String {
        self.map(show_duration).unwrap_or_default()
    }
}

impl Setting for usize {
    fn read(text: &str, kind: &ValueKind) -> Result<Self, String> {
        let text = text.trim();
        match *kind {
            ValueKind::Bytes(min, max) => in_range(bytes(text)?, min, max),
            ValueKind::Count(min, max) => match number_and_unit(text, "a whole number")? {
                (number, "") => in_range(usize::try_from(number).unwrap_or(usize::MAX), min, max),
                _ => Err("not a whole number".to_owned()),
            },
            _ => Err("not a number".to_owned()),
        }
    }
    fn show(&self, kind: &ValueKind) -> String {
        if matches!(kind, ValueKind::Bytes(..)) { show_bytes(*self) } else { self.to_string() }
    }
}

impl Setting for u32 {
    fn read(text: &str, kind: &ValueKind) -> Result<Self, String> {
        u32::try_from(usize::read(text, kind)?).map_err(|_| "out of range".to_owned())
    }
    fn show(&self, _: &ValueKind) -> String {
        self.to_string()
    }
}

impl Setting for Option<f32> {
    fn read(text: &str, kind: &ValueKind) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let is_plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let value = text.parse::<f32>().ok().filter(|_| is_plain).ok_or("not a number")?;
        let is_allowed = match *kind {
            ValueKind::Decimal(min, max) => (min..=max).contains(&value),
            _ => value > 0.0 && value <= 1.0,
        };
        if is_allowed { Ok(Some(value)) } else { Err("out of range".to_owned()) }
    }
    fn show(&self, _: &ValueKind) -> String {
        self.map(|value| value.to_string()).unwrap_or_default()
    }
}

impl Setting for bool {
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        match text.trim() {
            "" => Err("is empty".to_owned()),
            text => text.parse().map_err(|_| "neither true nor false".to_owned()),
        }
    }
    fn show(&self, _: &ValueKind) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn read(text: &str, kind: &ValueKind) -> Result<Self, String> {
        match *kind {
            ValueKind::Line(max) => links::line(text, max),
            ValueKind::Word(min, _) if text.is_empty() && min > 0 => Err("is empty".to_owned()),
            ValueKind::Word(_, max) | ValueKind::Text(max) if text.len() > max => Err("too long".to_owned()),
            ValueKind::Variable if text.bytes().any(|b| !(b.is_ascii_alphanumeric() || b == b'_')) => {
                Err("not the name of a variable: letters, digits and underscores".to_owned())
            }
            ValueKind::Variable if text.len() > 128 => Err("too long".to_owned()),
            // It is used in a header or a path, where other characters would allow injection.
            ValueKind::Word(..) if !text.bytes().all(|b| b.is_ascii_graphic()) => {
                Err("has a character that is not allowed".to_owned())
            }
            _ => Ok(text.to_owned()),
        }
    }
    fn show(&self, _: &ValueKind) -> String {
        self.clone()
    }
}

impl Setting for Option<PathBuf> {
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }
    fn show(&self, _: &ValueKind) -> String {
        self.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }
}

impl Setting for SocketAddr {
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        match text.trim() {
            "" => Err("is empty".to_owned()),
            text => text.parse().map_err(|_| "not an IP address with a port".to_owned()),
        }
    }
    fn show(&self, _: &ValueKind) -> String {
        self.to_string()
    }
}

impl Setting for Option<SocketAddr> {
    fn read(text: &str, kind: &ValueKind) -> Result<Self, String> {
        if text.trim().is_empty() { Ok(None) } else { SocketAddr::read(text, kind).map(Some) }
    }
    fn show(&self, _: &ValueKind) -> String {
        self.map(|address| address.to_string()).unwrap_or_default()
    }
}

/// Names in a list; a repeated one is kept once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl Setting for Names {
    fn read(text: &str, kind: &ValueKind) -> Result<Self, String> {
        let names = list(text, |name| String::read(name, &ValueKind::Word(1, 128)))?;
        match *kind {
            ValueKind::Subset(known) => match names.iter().position(|name| !known.contains(&name.as_str())) {
                Some(at) => Err(format!("entry {}: not one of the words", at + 1)),
                None => Ok(Names(names)),
            },
            ValueKind::Names(max) if names.len() > max => Err(format!("more than {max}")),
            _ => Ok(Names(names)),
        }
    }
    fn show(&self, _: &ValueKind) -> String {
        self.0.join(", ")
    }
}

/// Maximum bytes of one key; a longer one is rejected.
const SECRET_BYTES: usize = 4096;
/// Keys of one upstream; more are rejected.
const KEYS_MAX: usize = 32;

/// The keys in the text form of `upstream.api_key`.
pub(super) fn api_keys(keys: Option<&SecretString>) -> Vec<SecretString> {
    let keys = keys.into_iter().flat_map(|keys| keys.expose_secret().split(','));
    keys.map(SecretString::from).collect()
}

/// Checks one key, and never repeats it.
fn check_key(text: &str) -> Result<(), &'static str> {
    if text.contains(char::is_whitespace) {
        Err("has a blank in it")
    } else if text.contains(['"', '\'', '`']) {
        Err("has quotes in it; give the key without them")
    } else if !text.bytes().all(|b| b.is_ascii_graphic()) {
        Err("has a character that no key has")
    } else if text.len() > SECRET_BYTES {
        Err("too long for a key")
    } else {
        Ok(())
    }
}

/// One key or several, with commas between them.
impl Setting for Option<SecretString> {
    /// `None` for an empty text, which only the table's default is: layers reject empty secrets.
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        // Editors and `echo` add a line break at the end of a file.
        let text = text.trim_end_matches(['\r', '\n']);
        let mut keys: Vec<&str> = text.split(['\n', ',']).map(|key| key.trim_end_matches('\r')).collect();
        if let [key] = keys[..] {
            check_key(key)?;
            return Ok((!key.is_empty()).then(|| SecretString::from(key)));
        }
        keys.iter_mut().for_each(|key| *key = key.trim());
        for (at, key) in keys.iter().enumerate() {
            let problem = match keys[..at].iter().position(|other| other == key) {
                _ if key.is_empty() => "is empty".to_owned(),
                Some(other) => format!("is the same as k{}", other + 1),
                None => match check_key(key) {
                    Ok(()) => continue,
                    Err(problem) => problem.to_owned(),
                },
            };
            return Err(format!("k{} {problem}", at + 1));
        }
        if keys.len() > KEYS_MAX {
            return Err(format!("more than {KEYS_MAX} keys"));
        }
        Ok(Some(SecretString::from(keys.join(","))))
    }
    fn show(&self, _: &ValueKind) -> String {
        match api_keys(self.as_ref()).len() {
            0 => "(not set)".to_owned(),
            1 => "(set)".to_owned(),
            count => format!("({count} set)"),
        }
    }
}

/// An enum whose values have names in the configuration.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// The names, in the order of [`Choice::VALUES`].
    const NAMES: &'static [&'static str];
    const VALUES: &'static [Self];
}

impl<T: Choice> Setting for T {
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        let text = text.trim();
        let found = T::NAMES.iter().zip(T::VALUES).find(|(name, _)| **name == text);
        let problem = if text.is_empty() { "is empty" } else { "not one of the words" };
        found.map(|(_, value)| *value).ok_or_else(|| problem.to_owned())
    }
    fn show(&self, _: &ValueKind) -> String {
        let found = T::NAMES.iter().zip(T::VALUES).find(|(_, value)| *value == self);
        found.map(|(name, _)| (*name).to_owned()).unwrap_or_default()
    }
}

impl Choice for Endpoint {
    const NAMES: &'static [&'static str] = &["auto", "text", "multimodal"];
    const VALUES: &'static [Self] = &[Endpoint::Auto, Endpoint::Text, Endpoint::Multimodal];
}

/// Whether the model is asked to reason before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// The parameter is not sent, so the model's own default applies.
    Default,
    On,
    Off,
}

impl Choice for Thinking {
    const NAMES: &'static [&'static str] = &["default", "on", "off"];
    const VALUES: &'static [Self] = &[Thinking::Default, Thinking::On, Thinking::Off];
}

/// Whether one model reasons before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelThinking {
    /// As its upstream says.
    Default,
    On,
    Off,
    /// It does, and this cannot be switched off: no client may choose.
    Always,
}

impl Choice for ModelThinking {
    const NAMES: &'static [&'static str] = &["default", "on", "off", "always"];
    const VALUES: &'static [Self] =
        &[ModelThinking::Default, ModelThinking::On, ModelThinking::Off, ModelThinking::Always];
}

/// When pieces of an answer are acknowledged to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// With each read, as the kernel does by itself.
    Prompt,
    /// With a later piece where one comes soon. Linux only.
    Lazy,
}

impl Choice for KeysLimited {
    const NAMES: &'static [&'static str] = &["together", "apart"];
    const VALUES: &'static [Self] = &[KeysLimited::Together, KeysLimited::Apart];
}

impl Choice for MidAnswer {
    const NAMES: &'static [&'static str] = &["restart", "continue", "off"];
    const VALUES: &'static [Self] = &[MidAnswer::Restart, MidAnswer::Continue, MidAnswer::Off];
}

impl Choice for Ack {
    const NAMES: &'static [&'static str] = &["prompt", "lazy"];
    const VALUES: &'static [Self] = &[Ack::Prompt, Ack::Lazy];
}

impl Choice for Format {
    const NAMES: &'static [&'static str] = &["plain", "json"];
    const VALUES: &'static [Self] = &[Format::Plain, Format::Json];
}
