//! All keys, their defaults and checks; flags over environment over file over defaults.
//!
//! Everything about a key (names of variables, defaults, ranges, the table in docs/CONFIG.md,
//! what `tidegate check` prints) is derived from its row in [`SECTIONS`].
mod keys;
mod kind;
mod value;

mod address;
mod check;
mod environment;
mod example;
mod fault;
mod file;
mod layers;
mod links;
mod lookup;
mod models;
mod prices;
mod proxy;
mod purpose;
mod renamed;
mod section;
mod service;
mod service_check;
mod targets;
mod units;

#[cfg(test)]
mod tests;

pub use address::{Hosts, Origins};
pub use check::PING_BEHIND_PROXY;
pub use environment::{Environment, Map, Process};
pub use example::{example, markdown_table};
pub use fault::{ConfigError, Fault, Origin};
pub use keys::{
    Breaker, Config, Connection, Dispatch, History, Http, Key, Log, Model, Page, Places, Retry, Route,
    SECTIONS, Section, Server, Session, Upstream,
};
pub use kind::ValueKind;
pub use layers::Flags;
pub use links::{Link, Links};
pub use lookup::{find, keys};
pub use models::ModelInUse;
pub use proxy::{ProxyChoice, ProxyEnvironment};
pub use purpose::Purpose;
pub use renamed::{OldName, renamed_table};
pub use section::{DEFAULT_NAME, NAME_BYTES_MAX, SectionName, SectionNames};
pub use targets::{Levels, TargetName};
pub use value::{Ack, ModelThinking, Names, Thinking};

use crate::logging;
use layers::Entry;
use lookup::KeyPath;
use std::io;

/// Reads the whole configuration.
///
/// # Errors
/// All faults of all layers, including those of values that a stronger layer replaces.
pub fn load(flags: &Flags, source: &dyn Environment) -> Result<Config, ConfigError> {
    load_for(Purpose::Serve, flags, source)
}

/// Reads the keys that `purpose` needs.
///
/// # Errors
/// As [`load`].
pub fn load_for(purpose: Purpose, flags: &Flags, source: &dyn Environment) -> Result<Config, ConfigError> {
    let (mut config, mut faults) = read(purpose, flags, source);
    config.complete_services();
    // Keys with invalid values cannot be compared.
    let bad: Vec<String> = faults.iter().map(|fault| fault.key.clone()).collect();
    faults.extend(config.service_faults(&bad));
    faults.extend(config.contradictions(&bad));
    faults.extend(config.misplaced());
    faults.extend(config.model_faults(&bad));
    faults.extend(config.price_faults(&bad));
    // In the order of the file; faults of one origin as they were found.
    faults.sort_by(|a, b| a.origin.cmp(&b.origin));
    ConfigError::unless_empty(faults).map(|()| config)
}

/// Reads all layers, without checks that involve several keys.
fn read(purpose: Purpose, flags: &Flags, source: &dyn Environment) -> (Config, Vec<Fault>) {
    let mut read = Reading::new(purpose);
    let environment = layers::environment(source, &mut read);
    let path = flags.config.as_deref().or(environment.config.as_deref());
    let mut entries = file::file(path, source, &mut read);
    entries.extend(environment.entries);
    entries.extend(layers::flags(flags, &mut read));

    let Reading { mut faults, ignored, mut exposed, mut places, .. } = read;
    let is_of_model =
        |entry: &Entry| entry.path.section.is_some() && entry.path.key.section_kind() == "model";
    if entries.iter().any(is_of_model) || places.keys().any(|(kind, _)| *kind == "model") {
        layers::name_the_default(&mut entries);
    }
    let named_variables = layers::without_named_variables(&mut entries, &mut faults);
    let old_names = layers::old_names(&entries, &mut faults);
    let mut config = Config { ignored, old_names, ..Config::default() };
    let (named, shared): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.path.section.is_some());
    for entry in &shared {
        config.apply(entry, &mut faults);
    }
    for entry in &named {
        if let Some(name) = &entry.path.section {
            let id = (entry.path.key.section_kind(), name.clone());
            places.entry(id).or_insert_with(|| entry.origin.clone());
        }
    }
    // Faults of inherited values were already reported for the unnamed section.
    for (kind, name) in places.keys() {
        if let Some(section) = SECTIONS.iter().find(|section| section.kind == *kind) {
            (section.open)(&mut config, name);
        }
        let inherited =
            |entry: &&Entry| entry.path.key.section_kind() == *kind && entry.path.key.is_inherited();
        for entry in shared.iter().filter(inherited) {
            let (text, origin) = (entry.text.clone(), entry.origin.clone());
            let entry = Entry { path: entry.path.within(name), old_name: None, text, origin };
            config.apply(&entry, &mut Vec::new());
        }
    }
    for entry in &named {
        config.apply(entry, &mut faults);
    }
    if purpose == Purpose::Serve {
        config.take_named_variables(&named_variables, source, &mut faults, &mut exposed);
        match ProxyEnvironment::read(source) {
            Ok(proxies) => config.proxies = proxies,
            Err(fault) if config.is_proxy_of_environment() => faults.push(*fault),
            Err(_) => {}
        }
    }
    // A place whose value was replaced by a stronger one is not in use.
    exposed.retain(|place| config.origins.values().any(|origin| origin == place));
    (config.exposed, config.places) = (exposed, places);
    (config, faults)
}

/// The state while the layers are read.
struct Reading {
    purpose: Purpose,
    faults: Vec<Fault>,
    ignored: Vec<Origin>,
    exposed: Vec<Origin>,
    places: Places,
}

impl Reading {
    fn open(&mut self, section: &Section, name: SectionName, origin: &Origin) {
        self.places.entry((section.kind, name)).or_insert_with(|| origin.clone());
    }

    fn new(purpose: Purpose) -> Self {
        let (faults, ignored, exposed) = (Vec::new(), Vec::new(), Vec::new());
        Reading { purpose, faults, ignored, exposed, places: Places::new() }
    }
}

impl Config {
    fn apply(&mut self, entry: &Entry, faults: &mut Vec<Fault>) {
        let Entry { path, text, origin, .. } = entry;
        // An empty secret is the default, but setting one is a mistake.
        let set = if path.is_secret() && text.trim().is_empty() {
            Err("is empty".to_owned())
        } else {
            (path.key.set)(self, path.section.as_ref(), text)
        };
        match set {
            Ok(()) => {
                self.origins.insert(path.name(), origin.clone());
            }
            Err(problem) => faults.push(Fault {
                key: path.name(),
                origin: origin.clone(),
                value: path.key.kind.may_show(text).then(|| text.clone()),
                problem,
                allowed: Some(path.key.kind.allowed()),
            }),
        }
    }

    /// Whether some upstream is reached through the proxy of the environment, if there is one.
    fn is_proxy_of_environment(&self) -> bool {
        let mut upstreams = self.upstreams_in_use().into_iter();
        upstreams.any(|(_, upstream)| upstream.proxy.is_of_environment(&upstream.base_url))
    }

    /// Every value in use; for each kind of section, first that without a name.
    fn paths(&self) -> Vec<KeyPath> {
        let mut paths = Vec::new();
        for section in SECTIONS {
            let names = (section.names)(self);
            let is_whole = names.is_empty() || (section.kind == "upstream" && self.is_unnamed_in_use());
            let is_shown = |key: &&Key| section.has_unnamed && (is_whole || key.is_inherited());
            let shared = section.keys.iter().filter(is_shown);
            paths.extend(shared.map(KeyPath::from));
            for name in names {
                paths.extend(section.keys.iter().map(|key| KeyPath::from(key).within(name)));
            }
        }
        paths
    }

    /// Writes one line for each key that is not at its default, and the number of those that are.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn print_changed(&self, out: &mut impl io::Write) -> io::Result<()> {
        let all = self.paths();
        let changed: Vec<_> = all.iter().filter(|path| self.origins.contains_key(&path.name())).collect();
        for path in &changed {
            self.print(path, out)?;
        }
        writeln!(
            out,
            "# {} of {} keys are at their defaults; --all prints them",
            all.len() - changed.len(),
            all.len()
        )
    }

    /// Writes one line for each key, `key = value  # where from`, without secrets.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn print_effective(&self, out: &mut impl io::Write) -> io::Result<()> {
        self.paths().iter().try_for_each(|path| self.print(path, out))
    }

    fn print(&self, path: &KeyPath, out: &mut impl io::Write) -> io::Result<()> {
        let (name, value) = (path.name(), path.show(self));
        let value = if value.is_empty() { "\"\"".to_owned() } else { logging::escape(&value) };
        let origin = self.origins.get(&name).unwrap_or(&Origin::Default);
        writeln!(out, "{name} = {value}  # {origin}")
    }
}
