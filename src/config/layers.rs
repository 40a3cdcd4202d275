//! Flags and environment, turned into entries for the table; secrets from files; near misses of names.
use super::lookup::{
    FILE_SUFFIX, KeyPath, PREFIX, Resolved, find, keys, resolve, section_of_variable, suggestions,
};
use super::{Config, Environment, Fault, OldName, Origin, Reading, SectionName};
use crate::io_error::describe;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// One value that was given for a key.
pub(super) struct Entry {
    pub(super) path: KeyPath,
    /// The name under which it was given, if that is an old one.
    pub(super) old_name: Option<&'static str>,
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// The configuration on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: the file to read instead of `tidegate.toml`.
    pub config: Option<PathBuf>,
    /// Each `--set`, as `key=value`; the last one of a key takes precedence.
    pub set: Vec<String>,
    /// Flags of their own: name (`--listen`), key, value. They win over `--set`.
    pub named: Vec<(&'static str, &'static str, String)>,
}

/// The variable that names the file.
pub(super) const FILE_VARIABLE: &str = "TIDEGATE_CONFIG";
/// The short ways to name the model.
const MODEL_VARIABLE: &str = "TIDEGATE_MODEL";
const MODEL_FLAG: &str = "--model";
/// Folders of secrets in containers, and the variable in which systemd names its own.
const CREDENTIALS: [&str; 2] = ["/run/secrets", "/var/run/secrets"];
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Maximum bytes of a file with a secret; a longer one is rejected.
const SECRET_FILE_BYTES: u64 = 64 * 1024;

pub(super) fn flags(flags: &Flags, read: &mut Reading) -> Vec<Entry> {
    let Reading { purpose, faults, .. } = read;
    let mut entries = Vec::new();
    let mut take = |entry: Entry, faults: &mut Vec<Fault>| match purpose.refuses(&entry.path) {
        Some(problem) => faults.push(Fault { key: entry.path.name(), ..unnamed(entry.origin, problem) }),
        None => entries.push(entry),
    };
    let origin = Origin::Flag("--set".to_owned());
    for setting in &flags.set {
        // The name is shown only if there is a `=`: otherwise the whole text may be a misplaced key.
        let Some((name, value)) = setting.split_once('=') else {
            faults.push(unnamed(origin.clone(), "needs KEY=VALUE"));
            continue;
        };
        let name = name.trim();
        match resolve(name) {
            Resolved::Value(path, _) if path.is_secret() => {
                let file = path.variables().pop().unwrap_or_default();
                let problem = format!("a secret does not belong on a command line; use {file}{FILE_SUFFIX}");
                faults.push(Fault { key: path.name(), ..unnamed(origin.clone(), &problem) });
            }
            Resolved::Value(path, old_name) => {
                take(Entry { path, old_name, text: value.to_owned(), origin: origin.clone() }, faults);
            }
            Resolved::BadSection(problem) => {
                faults.push(Fault { key: name.to_owned(), ..unnamed(origin.clone(), &problem) });
            }
            Resolved::Group | Resolved::Section(..) | Resolved::Unknown => {
                faults.push(unknown(name, origin.clone(), "unknown key", &suggestions(name)));
            }
        }
    }
    for (flag, name, value) in &flags.named {
        let origin = Origin::Flag((*flag).to_owned());
        match find(name) {
            Some(key) => {
                take(Entry { path: key.into(), old_name: None, text: value.clone(), origin }, faults)
            }
            None => faults.push(unknown(name, origin, "unknown key", &suggestions(name))),
        }
    }
    entries
}

/// The gateway's variables of the environment, and the values read from them.
pub(super) struct FromEnvironment {
    pub(super) entries: Vec<Entry>,
    /// The value of `TIDEGATE_CONFIG`.
    pub(super) config: Option<PathBuf>,
}

pub(super) fn environment(source: &dyn Environment, read: &mut Reading) -> FromEnvironment {
    let paths = paths(source);
    let mut known = BTreeSet::from([FILE_VARIABLE.to_owned()]);
    let mut old = BTreeSet::new();
    let mut ignored = BTreeSet::new();
    for path in &paths {
        let (names, old_name) = (path.all_variables(), path.old_variable().map(|(name, _)| name));
        if read.purpose.ignores(path) {
            ignored.extend(names.iter().cloned().chain(old_name.clone()));
        }
        known.extend(names);
        old.extend(old_name);
    }
    let mut variables = BTreeMap::new();
    for (name, value) in source.variables() {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX) || known.contains(*name))
        else {
            continue; // It belongs to another program.
        };
        let origin = Origin::Variable(name.to_owned());
        if ignored.contains(name) {
            read.ignored.push(origin);
            continue;
        }
        let faults = &mut read.faults;
        match value.into_string() {
            Err(_) => faults.push(unnamed(origin, "is not UTF-8")),
            Ok(value) if known.contains(name) || old.contains(name) => {
                variables.insert(name.to_owned(), value);
            }
            Ok(value) if is_service_link(name, &value) => {}
            Ok(_) => {
                let known: Vec<_> = known.iter().cloned().collect();
                faults
                    .push(Fault { key: String::new(), ..unknown(name, origin, "unknown variable", &known) });
            }
        }
    }
    let mut entries = Vec::new();
    for path in &paths {
        let found = if path.is_secret() {
            secret(path, &variables, source, read)
        } else {
            path.variables().into_iter().find_map(|name| {
                let text = variables.get(&name)?.clone();
                Some(Entry { path: path.clone(), old_name: None, text, origin: Origin::Variable(name) })
            })
        };
        entries.extend(found);
        entries.extend(path.old_variable().and_then(|(name, old)| {
            let text = variables.get(&name)?.clone();
            Some(Entry { path: path.clone(), old_name: Some(old), text, origin: Origin::Variable(name) })
        }));
    }
    let config = variables.get(FILE_VARIABLE).filter(|path| {
        if path.is_empty() {
            read.faults.push(unnamed(Origin::Variable(FILE_VARIABLE.to_owned()), "is empty"));
        }
        !path.is_empty()
    });
    FromEnvironment { entries, config: config.map(PathBuf::from) }
}

/// The short ways to name the model, as people know them from a gateway with one: where models have sections, they name
/// the default one.
pub(super) fn name_the_default(entries: &mut [Entry]) {
    let Some(default) = find("route.default") else { return };
    for entry in entries {
        let is_short = match &entry.origin {
            Origin::Variable(name) => name == MODEL_VARIABLE,
            Origin::Flag(name) => name == MODEL_FLAG,
            Origin::Default | Origin::File { .. } => false,
        };
        if is_short && entry.path.key.name == "upstream.model" {
            entry.path = default.into();
        }
    }
}

/// Takes out what was read from variables that some `api_key_env` names: they hold the key of that upstream. Returns their
/// names.
pub(super) fn without_named_variables(entries: &mut Vec<Entry>, faults: &mut Vec<Fault>) -> BTreeSet<String> {
    let names = entries.iter().filter(|entry| entry.path.key.name == "upstream.api_key_env");
    let names: BTreeSet<_> = names.map(|entry| entry.text.clone()).filter(|name| !name.is_empty()).collect();
    let is_named = |origin: &Origin| match origin {
        Origin::Variable(name) => names.contains(name.strip_suffix(FILE_SUFFIX).unwrap_or(name)),
        Origin::Default | Origin::File { .. } | Origin::Flag(_) => false,
    };
    entries.retain(|entry| !(entry.path.is_secret() && is_named(&entry.origin)));
    // What was wrong with them there: unknown names, values that are no key.
    let is_of_name = |fault: &Fault| fault.key.is_empty() || fault.key == "upstream.api_key";
    faults.retain(|fault| !(is_of_name(fault) && is_named(&fault.origin)));
    names
}

impl Config {
    /// Reads the key of each upstream with `api_key_env` from the variable that it names.
    pub(super) fn take_named_variables(
        &mut self,
        names: &BTreeSet<String>,
        source: &dyn Environment,
        faults: &mut Vec<Fault>,
        exposed: &mut Vec<Origin>,
    ) {
        if names.is_empty() {
            return;
        }
        let is_wanted = |name: &str| names.contains(name.strip_suffix(FILE_SUFFIX).unwrap_or(name));
        let variables: BTreeMap<_, _> = source
            .variables()
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| is_wanted(name))
            .collect();
        for (key, variable) in self.named_variables() {
            let mut fault =
                |problem: String| faults.push(Fault { value: None, ..self.fault(&key.name(), problem) });
            let own = key.sibling("upstream.api_key");
            if let Some(other) = self.origins.get(&own.name()) {
                fault(format!("contradicts {} ({other}); set one of the two", own.name()));
                continue;
            }
            let file = format!("{variable}{FILE_SUFFIX}");
            let (origin, text) = match (variables.get(&variable), variables.get(&file)) {
                (Some(_), Some(_)) => {
                    fault(format!("{variable} contradicts {file}; set one of the two"));
                    continue;
                }
                (Some(text), None) => (variable, Ok(text.clone())),
                (None, Some(place)) => {
                    if is_exposed(place.as_ref(), source) {
                        exposed.push(Origin::Variable(file.clone()));
                    }
                    (file, read_secret(place, source))
                }
                (None, None) => {
                    fault(format!("there is no variable {variable}, and no {file} with the name of a file"));
                    continue;
                }
            };
            let origin = Origin::Variable(origin);
            match text {
                Ok(text) => self.apply(&Entry { path: own, old_name: None, text, origin }, faults),
                Err(problem) => faults.push(Fault { key: own.name(), ..unnamed(origin, &problem) }),
            }
        }
    }

    /// Each `api_key_env` with the variable that it names.
    fn named_variables(&self) -> Vec<(KeyPath, String)> {
        let Some(key) = find("upstream.api_key_env") else { return Vec::new() };
        let upstreams = self.upstreams_in_use().into_iter();
        let named = upstreams.filter(|(_, upstream)| !upstream.api_key_env.is_empty());
        let path = |name: Option<&SectionName>| KeyPath { key, section: name.cloned() };
        named.map(|(name, upstream)| (path(name), upstream.api_key_env.clone())).collect()
    }
}

/// Every value that a variable can set: all keys, and those of each section that occurs in some variable.
fn paths(source: &dyn Environment) -> Vec<KeyPath> {
    let mut sections = Vec::new();
    for (name, _) in source.variables() {
        let found = name.to_str().and_then(section_of_variable);
        sections.extend(found.map(|(section, label)| (section.kind, section.keys, label)));
    }
    sections.sort_by(|(a, _, x), (b, _, y)| (a, x).cmp(&(b, y)));
    sections.dedup_by(|(a, _, x), (b, _, y)| (a, x) == (b, y));
    let named = sections
        .into_iter()
        .flat_map(|(_, keys, label)| keys.iter().map(move |key| KeyPath::from(key).within(&label)));
    keys().map(KeyPath::from).chain(named).collect()
}

/// The strongest variable with a secret, or with the name of a file that contains it. Weaker ones are ignored: `API_KEY` is
/// a common name and may be meant for another program.
fn secret(
    path: &KeyPath,
    variables: &BTreeMap<String, String>,
    source: &dyn Environment,
    read: &mut Reading,
) -> Option<Entry> {
    for name in path.variables() {
        let file = format!("{name}{FILE_SUFFIX}");
        let (name, text) = match (variables.get(&name), variables.get(&file)) {
            (None, None) => continue,
            (Some(text), None) => (name, Ok(text.clone())),
            (None, Some(place)) => {
                if is_exposed(place.as_ref(), source) {
                    read.exposed.push(Origin::Variable(file.clone()));
                }
                (file, read_secret(place, source))
            }
            (Some(_), Some(_)) => (name, Err(format!("contradicts {file}; set one of the two"))),
        };
        let origin = Origin::Variable(name);
        match text {
            Ok(text) => return Some(Entry { path: path.clone(), old_name: None, text, origin }),
            Err(problem) => read.faults.push(Fault { key: path.name(), ..unnamed(origin, &problem) }),
        }
        return None;
    }
    None
}

/// Every value under an old name. A key that is given under both names is a fault, because it is unclear which value is
/// meant.
pub(super) fn old_names(entries: &[Entry], faults: &mut Vec<Fault>) -> Vec<OldName> {
    let mut found = Vec::new();
    for entry in entries {
        let Some(old) = entry.old_name else { continue };
        let new = entry.path.key.name;
        let is_same = |other: &&Entry| other.path.section.is_none() && other.path.key.name == new;
        let other = entries.iter().filter(|other| other.old_name.is_none()).find(is_same);
        match other {
            None => found.push(OldName { old, new, origin: entry.origin.clone() }),
            Some(other) => {
                let problem = format!("is the old name of {new}, which is set as well ({})", other.origin);
                faults.push(Fault { key: old.to_owned(), ..unnamed(entry.origin.clone(), &problem) });
            }
        }
    }
    found
}

/// Whether a file with a secret is readable by all users.
pub(super) fn is_exposed(path: &Path, source: &dyn Environment) -> bool {
    !is_credential(path, source) && source.is_readable_by_all(path)
}

/// Whether this is a folder in which containers and systemd place the secrets of one program. File modes do not matter
/// there.
fn is_credential(path: &Path, source: &dyn Environment) -> bool {
    let mut variables = source.variables().into_iter();
    let systemd = variables.find(|(name, _)| name == CREDENTIALS_VARIABLE);
    let systemd = systemd.map(|(_, folder)| PathBuf::from(folder)).filter(|folder| folder.is_absolute());
    let folders = CREDENTIALS.map(PathBuf::from).into_iter().chain(systemd);
    folders.into_iter().any(|folder| path.starts_with(folder))
}

/// Reads the file of a secret. The error never contains the path, because people put the key itself in place of its file.
fn read_secret(path: &str, source: &dyn Environment) -> Result<String, String> {
    if path.is_empty() {
        return Err("is empty".to_owned());
    }
    let bytes = source
        .read(path.as_ref(), SECRET_FILE_BYTES)
        .map_err(|error| format!("its file cannot be read: {}", describe(&error)))?;
    let text = String::from_utf8(bytes).map_err(|_| "its file is not UTF-8".to_owned())?;
    if text.is_empty() { Err("its file is empty".to_owned()) } else { Ok(text) }
}

/// Whether Kubernetes set this variable: it announces every service to every container, so `TIDEGATE_PORT=tcp://10.0.0.7:8000`
/// and the like appear wherever a service is called "tidegate". These are not mistakes of the operator.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_url)
        || name.split_once("_PORT_").is_some_and(|(_, rest)| {
            let protocol = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            protocol.len() < rest.len() && ["_TCP", "_UDP", "_SCTP"].iter().any(|p| protocol.starts_with(p))
        })
}

/// A fault without a key and a value.
pub(super) fn unnamed(origin: Origin, problem: &str) -> Fault {
    Fault { key: String::new(), origin, value: None, problem: problem.to_owned(), allowed: None }
}

/// The fault of an unknown name, without its value: it may be a key under a wrong name.
pub(super) fn unknown(name: &str, origin: Origin, what: &str, known: &[String]) -> Fault {
    let hint = nearest(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    Fault { key: name.to_owned(), ..unnamed(origin, &format!("{what}{hint}")) }
}

/// The most similar known name, if any is similar enough. Section names are often omitted, so the part after the last dot
/// is also compared by itself.
pub(super) fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let mut best = (LIKE, None);
    for candidate in known {
        let whole = strsim::normalized_damerau_levenshtein(without_prefix(name), without_prefix(candidate));
        let (own, other) = (last_part(name), last_part(candidate));
        let last = match other.starts_with(own) && own.len() >= BEGINNING {
            true => 1.0, // Its beginning.
            false => strsim::normalized_damerau_levenshtein(own, other),
        } * LAST;
        // Of equals, the one that is more alike as a whole.
        let score = whole.max(last) + whole / 100.0;
        if score > best.0 {
            best = (score, Some(candidate.as_str()));
        }
    }
    best.1
}

/// Minimum similarity (0 to 1) of two names; below it no name is suggested.
const LIKE: f64 = 0.55;
/// Bytes of a name that count as the beginning of another.
const BEGINNING: usize = 4;
/// Weight of the similarity of the last parts alone.
const LAST: f64 = 0.9;

/// The name without the prefix that all variables share, which would make any two of them look similar.
fn without_prefix(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

fn last_part(name: &str) -> &str {
    let name = without_prefix(name);
    let name = name.rsplit('.').next().unwrap_or(name);
    name.rsplit("__").next().unwrap_or(name)
}
