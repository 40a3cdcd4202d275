//! The commands that read the configuration, and the keys that each of them ignores.
use super::{
    keys::{Scope, Section},
    lookup::KeyPath,
};

/// The command that reads the configuration. Keys that it does not use are ignored in environment and file, so that their
/// faults cannot stop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To run the gateway, or to check whether it would run.
    Serve,
    /// To run it in front of a simulated model service.
    Demo,
    /// To check the health of a running gateway: only its address is needed, and access to the key is not.
    Health,
}

impl Purpose {
    /// Whether values of this key in environment and file are ignored.
    pub(super) fn ignores(self, path: &KeyPath) -> bool {
        match self {
            Purpose::Serve => false,
            // This model is meant for the real service; `--model` selects a simulated one.
            Purpose::Demo => {
                self.refuses(path).is_some() || ["upstream.model", "route.default"].contains(&path.key.name)
            }
            Purpose::Health => path.key.section_kind() != "server",
        }
    }

    /// Whether named sections are ignored.
    pub(super) fn ignores_named(self, section: &Section) -> bool {
        match self {
            Purpose::Serve => false,
            Purpose::Demo => true,
            Purpose::Health => section.kind != "server",
        }
    }

    /// Why this key cannot be set on the command line.
    pub(super) fn refuses(self, path: &KeyPath) -> Option<&'static str> {
        let is_of_a_service =
            path.section.is_some() || matches!(path.key.scope, Some(Scope::Own | Scope::Real));
        (self == Purpose::Demo && is_of_a_service).then_some(
            "`tidegate demo` has a simulated model service of its own; `tidegate serve` asks another one",
        )
    }
}
