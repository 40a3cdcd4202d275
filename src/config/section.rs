//! Named sections, of which there may be several of a kind: `[upstream.NAME]`.
use super::kind::{Setting, ValueKind};
use std::{borrow::Borrow, fmt};

/// Maximum bytes of a name; a longer one is rejected. Names become labels of metrics and parts of variables.
pub const NAME_BYTES_MAX: usize = 32;
/// The name of the unnamed section, such as `[upstream]`. No other section may have it.
pub const DEFAULT_NAME: &str = "default";

/// The name of one section of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SectionName(String);

impl SectionName {
    /// Parses a name: lower-case words of letters and digits, joined by single underscores, so that two underscores
    /// separate it from the key in a variable.
    ///
    /// # Errors
    /// The requirements of a name.
    pub fn new(text: &str) -> Result<Self, String> {
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if text == DEFAULT_NAME {
            Err(format!("`{DEFAULT_NAME}` is the section without a name"))
        } else if text.len() > NAME_BYTES_MAX || !begins || !text.split('_').all(is_word) {
            Err(format!(
                "not a name of a section: at most {NAME_BYTES_MAX} lower-case letters and digits, \
                 with single underscores between them, a letter first"
            ))
        } else {
            Ok(SectionName(text.to_owned()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for SectionName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names of sections in a list.
pub type SectionNames = Vec<SectionName>;

impl Setting for SectionNames {
    fn read(text: &str, kind: &ValueKind) -> Result<Self, String> {
        let mut names = SectionNames::new();
        if text.trim().is_empty() {
            return Ok(names);
        }
        for (index, entry) in text.split(',').map(str::trim).enumerate() {
            names.push(SectionName::new(entry).map_err(|problem| format!("entry {}: {problem}", index + 1))?);
        }
        match *kind {
            ValueKind::Sections(max) if names.len() > max => Err(format!("more than {max}")),
            _ => Ok(names),
        }
    }
    fn show(&self, _: &ValueKind) -> String {
        self.iter().map(SectionName::as_str).collect::<Vec<_>>().join(", ")
    }
}
