//! `tidegate.toml`, flattened to dotted keys with the line of each.
use super::keys::{Key, SECTIONS};
use super::layers::{Entry, is_exposed, unknown, unnamed};
use super::lookup::{Resolved, resolve, suggestions};
use super::{Environment, Fault, Origin, Reading, kind::ValueKind};
use crate::io_error::describe;
use std::{
    io,
    path::{Path, PathBuf},
};
use toml::de::{DeTable, DeValue};

/// The file that is read by default, if it exists.
pub(super) const DEFAULT_PATH: &str = "tidegate.toml";
/// Maximum bytes of the file; a longer one is an error.
const FILE_BYTES: u64 = 1024 * 1024;
/// Maximum number of syntax faults that are reported; later ones usually follow from the first.
const SYNTAX_FAULTS: usize = 5;

/// Reads the given file, or the default one.
pub(super) fn file(named: Option<&Path>, source: &dyn Environment, read: &mut Reading) -> Vec<Entry> {
    let path = named.unwrap_or(Path::new(DEFAULT_PATH));
    let whole = Origin::File { path: path.to_owned(), line: 0 };
    let bytes = match source.read(path, FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            read.faults.push(unnamed(whole, &format!("cannot be read: {}", describe(&error))));
            return Vec::new();
        }
    };
    let Ok(text) = String::from_utf8(bytes) else {
        read.faults.push(unnamed(whole, "is not UTF-8"));
        return Vec::new();
    };
    let mut reader = Reader { path: path.to_owned(), text: &text, entries: Vec::new(), read };
    let (table, errors) = DeTable::parse_recoverable(&text);
    // The parser's display of an error quotes the line, which may contain a key; its message does not.
    for error in errors.iter().take(SYNTAX_FAULTS) {
        let origin = reader.origin(error.span().map_or(0, |span| span.start));
        reader.read.faults.push(unnamed(origin, &format!("not TOML: {}", first_line(error.message()))));
    }
    if errors.is_empty() {
        reader.table("", table.get_ref());
    }
    let entries = reader.entries;
    let secrets = entries.iter().filter(|entry| entry.path.is_secret());
    if is_exposed(path, source) {
        read.exposed.extend(secrets.map(|entry| entry.origin.clone()));
    }
    entries
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

struct Reader<'a> {
    path: PathBuf,
    text: &'a str,
    entries: Vec<Entry>,
    read: &'a mut Reading,
}

impl Reader<'_> {
    fn origin(&self, at: usize) -> Origin {
        let breaks = self.text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        Origin::File { path: self.path.clone(), line: breaks + 1 }
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table.iter() {
            let full = format!("{prefix}{}", name.get_ref());
            let origin = self.origin(name.span().start);
            let problem = match (resolve(&full), value.get_ref()) {
                (Resolved::Value(path, _), _) if self.read.purpose.ignores(&path) => {
                    self.read.ignored.push(origin);
                    continue;
                }
                (Resolved::Value(path, old_name), value) => match text(path.key, value) {
                    Ok(text) => {
                        self.entries.push(Entry { path, old_name, text, origin });
                        continue;
                    }
                    Err(problem) => {
                        let allowed = Some(path.key.kind.allowed());
                        self.read.faults.push(Fault { key: full, allowed, ..unnamed(origin, &problem) });
                        continue;
                    }
                },
                (Resolved::Section(section, _), DeValue::Table(_))
                    if self.read.purpose.ignores_named(section) =>
                {
                    self.read.ignored.push(origin);
                    continue;
                }
                (Resolved::Section(section, label), DeValue::Table(table)) => {
                    self.read.open(section, label, &origin);
                    self.table(&format!("{full}."), table);
                    continue;
                }
                (Resolved::Group, DeValue::Table(table)) => {
                    self.table(&format!("{full}."), table);
                    continue;
                }
                (Resolved::Group, _) => "is a group of keys, not a key".to_owned(),
                (Resolved::BadSection(problem), DeValue::Table(_)) => problem,
                (Resolved::Section(..) | Resolved::BadSection(_) | Resolved::Unknown, _) => {
                    let kinds = SECTIONS.iter().map(|section| section.kind.to_owned());
                    let known: Vec<_> = kinds.chain(suggestions(&full)).collect();
                    self.read.faults.push(unknown(&full, origin, "unknown key", &known));
                    continue;
                }
            };
            let fault = Fault { key: full, ..unnamed(origin, &problem) };
            self.read.faults.push(fault);
        }
    }
}

/// The value in the text form of flags and environment.
fn text(key: &Key, value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) if key.kind.is_number() => {
            let number = i128::from_str_radix(number.as_str(), number.radix());
            number.map(|number| number.to_string()).map_err(|_| "out of range".to_owned())
        }
        DeValue::Float(number) if key.kind.is_decimal() => Ok(number.as_str().replace('_', "")),
        DeValue::Boolean(value) if matches!(key.kind, ValueKind::Bool) => Ok(value.to_string()),
        DeValue::Array(entries) if key.kind.is_list() => {
            let mut texts = Vec::new();
            for entry in entries.iter() {
                let text = entry.get_ref().as_str().ok_or("wrong type: not a list of strings")?;
                if text.trim().is_empty() || text.contains(',') {
                    return Err(format!("entry {}: empty, or with a comma in it", texts.len() + 1));
                }
                texts.push(text);
            }
            Ok(texts.join(","))
        }
        other => Err(format!("wrong type: {}", other.type_str())),
    }
}
