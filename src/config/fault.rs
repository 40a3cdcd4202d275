//! Faults of a configuration: all of them in one error, without any secret.
use std::{fmt, path::PathBuf};

/// Where a value comes from, weakest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The table of keys.
    Default,
    /// A file, with the line.
    File { path: PathBuf, line: usize },
    /// An environment variable, by name.
    Variable(String),
    /// A flag of the command line, by name.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            // Line 0 is the file as a whole.
            Origin::File { path, line: 0 } => write!(f, "{}", path.display().to_string().escape_debug()),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display().to_string().escape_debug()),
            Origin::Variable(name) | Origin::Flag(name) => write!(f, "{}", name.escape_debug()),
        }
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key; empty if the fault concerns no key, such as that of an invalid file.
    pub key: String,
    /// Where the value came from.
    pub origin: Origin,
    /// The value, truncated and escaped when shown; never that of a secret or of an unknown key.
    pub value: Option<String>,
    /// What is wrong with it.
    pub problem: String,
    /// What is allowed.
    pub allowed: Option<String>,
}

/// Maximum characters of a value in an error; the rest is cut.
const VALUE_CHARS: usize = 80;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}", self.origin)?;
        } else {
            write!(f, "{}", self.key.escape_debug())?;
        }
        if let Some(value) = &self.value {
            let shown: String = value.chars().take(VALUE_CHARS).collect();
            let more = if shown.len() < value.len() { "…" } else { "" };
            write!(f, " = {shown:?}{more}")?;
        }
        if !self.key.is_empty() && self.origin != Origin::Default {
            write!(f, " ({})", self.origin)?;
        }
        write!(f, ": {}", self.problem)?;
        if let Some(allowed) = &self.allowed {
            write!(f, "; allowed: {allowed}")?;
        }
        Ok(())
    }
}

/// All faults of a configuration; at least one.
#[derive(Clone, Debug, thiserror::Error)]
pub struct ConfigError {
    pub faults: Vec<Fault>,
}

impl ConfigError {
    /// `Ok` when there is no fault.
    pub(super) fn unless_empty(faults: Vec<Fault>) -> Result<(), ConfigError> {
        if faults.is_empty() { Ok(()) } else { Err(ConfigError { faults }) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.faults.len() == 1 { "" } else { "s" };
        write!(f, "the configuration has {} fault{s}:", self.faults.len())?;
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}
