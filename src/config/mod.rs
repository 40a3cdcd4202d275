//! All keys, their defaults and checks; flags over environment over file over defaults.
//!
//! Everything that is said about a key (names of variables, defaults, ranges, the table in docs/CONFIG.md,
//! what `tidegate check` prints) is derived from its row in [`KEYS`].
mod keys;
mod value;

mod address;
mod check;
mod fault;
mod file;
mod layers;
mod links;
mod purpose;
mod source;

#[cfg(test)]
mod tests;

pub use address::Origins;
pub use check::PING_BEHIND_PROXY;
pub use fault::{ConfigError, Fault, Origin};
pub use keys::{
    Breaker, Config, Dispatch, History, KEYS, Key, Limits, Log, Page, Retry, Server, Session, Upstream, find,
    markdown_table,
};
pub use layers::Flags;
pub use links::{Link, Links};
pub use purpose::Purpose;
pub use source::{Map, Process, Source};
pub use value::{Endpoint, Kind, Thinking};

use crate::logging;
use layers::Entry;
use std::io;

/// Reads the whole configuration.
///
/// # Errors
/// Every fault of every layer at once, also of values that a stronger layer replaces.
pub fn load(flags: &Flags, source: &dyn Source) -> Result<Config, ConfigError> {
    load_for(Purpose::Serve, flags, source)
}

/// Reads what `purpose` has a use for.
///
/// # Errors
/// As [`load`].
pub fn load_for(purpose: Purpose, flags: &Flags, source: &dyn Source) -> Result<Config, ConfigError> {
    let mut faults = Vec::new();
    let environment = layers::environment(purpose, source, &mut faults);
    let path = flags.config.as_deref().or(environment.config.as_deref());
    let mut entries = file::file(purpose, path, source, &mut faults);
    entries.extend(environment.entries);
    entries.extend(layers::flags(flags, &mut faults));

    let mut config = Config::default();
    for entry in entries {
        config.apply(entry, &mut faults);
    }
    let bad: Vec<String> = faults.iter().map(|fault| fault.key.clone()).collect();
    faults.extend(config.contradictions(&bad));
    // In the order in which a reader goes through his file; of one origin, as they were found.
    faults.sort_by(|a, b| a.origin.cmp(&b.origin));
    ConfigError::unless_empty(faults).map(|()| config)
}

impl Config {
    fn apply(&mut self, entry: Entry, faults: &mut Vec<Fault>) {
        let Entry { key, text, origin } = entry;
        let is_secret = matches!(key.kind, Kind::Secret);
        // Nothing at all is a key's default, but nobody sets an empty key on purpose.
        let set = if is_secret && text.trim().is_empty() {
            Err("is empty".to_owned())
        } else {
            (key.set)(self, &text)
        };
        match set {
            Ok(()) => {
                self.origins.insert(key.name, origin);
            }
            Err(problem) => faults.push(Fault {
                key: key.name.to_owned(),
                origin,
                value: key.kind.may_show(&text).then_some(text),
                problem,
                allowed: Some(key.kind.allowed()),
            }),
        }
    }

    /// Writes one line for each key, `key = value  # where from`, without secrets.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn print_effective(&self, out: &mut impl io::Write) -> io::Result<()> {
        for key in KEYS {
            let value = (key.show)(self);
            let value = if value.is_empty() { "\"\"".to_owned() } else { logging::escape(&value) };
            let origin = self.origins.get(key.name).unwrap_or(&Origin::Default);
            writeln!(out, "{} = {value}  # {origin}", key.name)?;
        }
        Ok(())
    }
}
