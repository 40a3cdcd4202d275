//! Finds keys by name: dotted names, old names, named sections, environment variables.
use super::{
    Config,
    keys::{Key, SECTIONS, Scope, Section},
    kind::ValueKind,
    renamed::{RENAMED, old_name, renamed},
    section::SectionName,
};

/// Prefix of the gateway's variables.
pub(super) const PREFIX: &str = "TIDEGATE_";
/// Suffix of variables with the name of a file that contains a secret.
pub(super) const FILE_SUFFIX: &str = "_FILE";

/// Variables with short names, for each key strongest first; the full name is stronger than all of them.
const SHORT: &[(&str, &str)] = &[
    ("TIDEGATE_LISTEN", "server.listen"),
    ("TIDEGATE_BASE_URL", "upstream.base_url"),
    ("TIDEGATE_MODEL", "upstream.model"),
    ("DASHSCOPE_API_KEY", "upstream.api_key"),
    ("API_KEY", "upstream.api_key"),
];

/// Every key, in the order in which people read them.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// The key with this dotted name, without a section's name.
pub fn find(name: &str) -> Option<&'static Key> {
    keys().find(|key| key.name == name)
}

/// The section of this kind.
fn section(kind: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.kind == kind)
}

impl Key {
    /// Whether a named section inherits the value of the section without a name.
    pub(super) fn is_inherited(&self) -> bool {
        self.scope != Some(Scope::Own)
    }

    /// Whether it can be set in a section without a name.
    pub(super) fn has_unnamed(&self) -> bool {
        SECTIONS.iter().any(|section| section.has_unnamed && section.kind == self.section_kind())
    }

    /// The variables of this key, strongest first.
    pub fn variables(&'static self) -> Vec<String> {
        KeyPath::from(self).variables()
    }

    /// The kind of its section: the part before the dot.
    pub(super) fn section_kind(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(kind, _)| kind)
    }

    /// The dotted name, with `NAME` for the name of a section where one is needed.
    pub(super) fn generic_name(&self) -> String {
        let name = if self.has_unnamed() { "" } else { ".NAME" };
        format!("{}{name}.{}", self.section_kind(), self.field())
    }

    /// The part after the dot.
    fn field(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(_, field)| field)
    }
}

/// One key in one section.
#[derive(Clone)]
pub(super) struct KeyPath {
    pub(super) key: &'static Key,
    /// `None`: the section without a name.
    pub(super) section: Option<SectionName>,
}

impl From<&'static Key> for KeyPath {
    fn from(key: &'static Key) -> Self {
        KeyPath { key, section: None }
    }
}

impl KeyPath {
    /// The same key in the section with this name.
    pub(super) fn within(&self, name: &SectionName) -> Self {
        KeyPath { key: self.key, section: Some(name.clone()) }
    }

    /// The dotted name.
    pub(super) fn name(&self) -> String {
        match &self.section {
            None => self.key.name.to_owned(),
            Some(section) => format!("{}.{section}.{}", self.key.section_kind(), self.key.field()),
        }
    }

    /// The key of this name in the same section.
    pub(super) fn sibling(&self, name: &str) -> Self {
        KeyPath { key: find(name).unwrap_or(self.key), section: self.section.clone() }
    }

    pub(super) fn is_secret(&self) -> bool {
        matches!(self.key.kind, ValueKind::Secret)
    }

    /// Variables of this value, strongest first.
    pub(super) fn variables(&self) -> Vec<String> {
        let short = SHORT.iter().filter(|(_, key)| self.section.is_none() && *key == self.key.name);
        std::iter::once(variable(&self.name())).chain(short.map(|(name, _)| (*name).to_owned())).collect()
    }

    /// The same, including those with the name of a file.
    pub(super) fn all_variables(&self) -> Vec<String> {
        let names = self.variables();
        let files = names.iter().filter(|_| self.is_secret()).map(|name| format!("{name}{FILE_SUFFIX}"));
        let files: Vec<_> = files.collect();
        names.into_iter().chain(files).collect()
    }

    /// The variable of the key's old name, if it has one.
    pub(super) fn old_variable(&self) -> Option<(String, &'static str)> {
        let old = old_name(self.key.name).filter(|_| self.section.is_none())?;
        Some((variable(old), old))
    }

    pub(super) fn show(&self, config: &Config) -> String {
        (self.key.show)(config, self.section.as_ref())
    }
}

/// The variable of a dotted name.
fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('.', "__"))
}

/// The meaning of a dotted name.
pub(super) enum Resolved {
    /// A value; with its old name, if that was used.
    Value(KeyPath, Option<&'static str>),
    /// More than one value: `upstream`, but no section with a name.
    Group,
    /// A section with a name: `upstream.qwen`. It may as well be a mistyped key.
    Section(&'static Section, SectionName),
    /// An invalid name of a section, and why.
    BadSection(String),
    Unknown,
}

pub(super) fn resolve(name: &str) -> Resolved {
    if let Some((old, new)) = renamed(name) {
        return find(new).map_or(Resolved::Unknown, |key| Resolved::Value(key.into(), Some(old)));
    }
    if let Some(key) = find(name) {
        return Resolved::Value(key.into(), None);
    }
    let (kind, rest) = name.split_once('.').unwrap_or((name, ""));
    if rest.is_empty() {
        let is_old = RENAMED.iter().any(|(old, _)| old.split('.').next() == Some(kind));
        return if is_old || section(kind).is_some() { Resolved::Group } else { Resolved::Unknown };
    }
    let Some(section) = section(kind).filter(|section| section.named_max > 0) else {
        return Resolved::Unknown;
    };
    let (label, field) = rest.split_once('.').map_or((rest, None), |(label, field)| (label, Some(field)));
    let is_key =
        |(key, _): &(&str, &str)| key.strip_prefix(kind).and_then(|key| key.strip_prefix('.')) == Some(label);
    if section.keys.iter().any(|key| key.field() == label) || RENAMED.iter().any(is_key) {
        return Resolved::BadSection(format!(
            "`{label}` is a key of [{kind}], so no section can be called so"
        ));
    }
    match (SectionName::new(label), field) {
        (Err(problem), _) => Resolved::BadSection(problem),
        (Ok(label), None) => Resolved::Section(section, label),
        (Ok(label), Some(field)) => match section.keys.iter().find(|key| key.field() == field) {
            Some(key) => Resolved::Value(KeyPath { key, section: Some(label) }, None),
            None => Resolved::Unknown,
        },
    }
}

/// The section that a variable names, as in `TIDEGATE_UPSTREAM__QWEN__MODEL`, whatever its key.
pub(super) fn section_of_variable(name: &str) -> Option<(&'static Section, SectionName)> {
    let (section, label) = name.strip_prefix(PREFIX)?.split_once("__")?;
    let (label, _) = label.split_once("__")?;
    let is_upper = |text: &str| !text.bytes().any(|b| b.is_ascii_lowercase());
    let dotted = format!("{section}.{label}").to_ascii_lowercase();
    match resolve(&dotted) {
        Resolved::Section(section, label) if is_upper(name) => Some((section, label)),
        _ => None,
    }
}

/// Candidates for a suggestion in place of an unknown name: all keys, and those of the section in the name.
pub(super) fn suggestions(name: &str) -> Vec<String> {
    let mut parts = name.split('.');
    let (kind, label) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let named = match resolve(&format!("{kind}.{label}")) {
        Resolved::Section(section, label) if parts.next().is_some() => {
            let paths = section.keys.iter().map(|key| KeyPath { key, section: Some(label.clone()) });
            paths.map(|path| path.name()).collect()
        }
        _ => Vec::new(),
    };
    keys().map(|key| key.name.to_owned()).chain(named).collect()
}
