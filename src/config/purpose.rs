//! What a configuration is read for, and which keys a command therefore has no use for.
use super::{keys::Section, lookup::KeyPath};

/// The command that reads the configuration. Keys that it cannot use are passed over in environment and file,
/// so that nothing about them can stop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To run the gateway, or to check whether it would run.
    Serve,
    /// To run it in front of a simulated model service.
    Demo,
    /// To ask a running gateway how it is: only its address matters, and who asks need not be able to read its key.
    Health,
}

/// What the simulated service decides for itself.
const SIMULATED: [&str; 6] = [
    "upstream.base_url",
    "upstream.api_key",
    "upstream.workspace",
    "upstream.ca_file",
    "upstream.allow_insecure",
    "upstream.allow_private",
];

impl Purpose {
    /// Whether values of this key in environment and file are passed over.
    pub(super) fn ignores(self, path: &KeyPath) -> bool {
        match self {
            Purpose::Serve => false,
            // A model that is meant for the real service; `--model` chooses a simulated one.
            Purpose::Demo => self.refuses(path).is_some() || path.key.name == "upstream.model",
            Purpose::Health => path.key.section_kind() != "server",
        }
    }

    /// Whether whole sections with names are passed over.
    pub(super) fn ignores_named(self, section: &Section) -> bool {
        match self {
            Purpose::Serve => false,
            Purpose::Demo => true,
            Purpose::Health => section.kind != "server",
        }
    }

    /// Why this key cannot be set on the command line either.
    pub(super) fn refuses(self, path: &KeyPath) -> Option<&'static str> {
        let is_of_a_service = path.section.is_some() || SIMULATED.contains(&path.key.name);
        (self == Purpose::Demo && is_of_a_service).then_some(
            "`tidegate demo` has a simulated model service of its own; `tidegate serve` asks another one",
        )
    }
}
