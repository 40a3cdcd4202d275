//! All keys, their defaults and checks; flags over environment over file over defaults.
//!
//! Everything that is said about a key (names of variables, defaults, ranges, the table in docs/CONFIG.md,
//! what `tidegate check` prints) is derived from its row in [`KEYS`].
mod keys;
mod kind;
mod value;

mod address;
mod check;
mod example;
mod fault;
mod file;
mod layers;
mod links;
mod purpose;
mod renamed;
mod source;
mod units;

#[cfg(test)]
mod tests;

pub use address::{Hosts, Origins};
pub use check::PING_BEHIND_PROXY;
pub use example::example;
pub use fault::{ConfigError, Fault, Origin};
pub use keys::{
    Breaker, Config, Connection, Dispatch, History, Http, KEYS, Key, Log, Page, Retry, Server, Session,
    Upstream, find, markdown_table,
};
pub use kind::Kind;
pub use layers::Flags;
pub use links::{Link, Links};
pub use purpose::Purpose;
pub use renamed::{OldName, renamed_table};
pub use source::{Map, Process, Source};
pub use value::Thinking;

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
    let mut read = Reading::new(purpose);
    let environment = layers::environment(source, &mut read);
    let path = flags.config.as_deref().or(environment.config.as_deref());
    let mut entries = file::file(path, source, &mut read);
    entries.extend(environment.entries);
    entries.extend(layers::flags(flags, &mut read));

    let Reading { mut faults, ignored, mut exposed, .. } = read;
    let old_names = layers::old_names(&entries, &mut faults);
    let mut config = Config { ignored, old_names, ..Config::default() };
    for entry in entries {
        config.apply(entry, &mut faults);
    }
    // A place that a stronger one replaces is not in use.
    exposed.retain(|place| config.origins.values().any(|origin| origin == place));
    config.exposed = exposed;
    let bad: Vec<String> = faults.iter().map(|fault| fault.key.clone()).collect();
    faults.extend(config.contradictions(&bad));
    // In the order in which a reader goes through his file; of one origin, as they were found.
    faults.sort_by(|a, b| a.origin.cmp(&b.origin));
    ConfigError::unless_empty(faults).map(|()| config)
}

/// What is gathered while the layers are read.
struct Reading {
    purpose: Purpose,
    faults: Vec<Fault>,
    ignored: Vec<Origin>,
    exposed: Vec<Origin>,
}

impl Reading {
    fn new(purpose: Purpose) -> Self {
        Reading { purpose, faults: Vec::new(), ignored: Vec::new(), exposed: Vec::new() }
    }
}

impl Config {
    fn apply(&mut self, entry: Entry, faults: &mut Vec<Fault>) {
        let Entry { key, text, origin, .. } = entry;
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

    /// Writes the lines of the keys that are not at their defaults, and how many are.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn print_changed(&self, out: &mut impl io::Write) -> io::Result<()> {
        let changed: Vec<_> = KEYS.iter().filter(|key| self.origins.contains_key(key.name)).collect();
        for key in &changed {
            self.print(key, out)?;
        }
        writeln!(
            out,
            "# {} of {} keys are at their defaults; --all prints them",
            KEYS.len() - changed.len(),
            KEYS.len()
        )
    }

    /// Writes one line for each key, `key = value  # where from`, without secrets.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn print_effective(&self, out: &mut impl io::Write) -> io::Result<()> {
        KEYS.iter().try_for_each(|key| self.print(key, out))
    }

    fn print(&self, key: &Key, out: &mut impl io::Write) -> io::Result<()> {
        let value = (key.show)(self);
        let value = if value.is_empty() { "\"\"".to_owned() } else { logging::escape(&value) };
        let origin = self.origins.get(key.name).unwrap_or(&Origin::Default);
        writeln!(out, "{} = {value}  # {origin}", key.name)
    }
}
