//! What a configuration is read for, and which keys a command therefore has no use for.

/// The command that reads the configuration. Keys that it cannot use are passed over in environment and file,
/// so that nothing about them can stop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To run the gateway, or to check whether it would run.
    Serve,
    /// To ask a running gateway how it is. Who asks need not be able to read its key.
    Health,
}

impl Purpose {
    /// Whether values of this key in environment and file are passed over.
    pub(super) fn ignores(self, key: &str) -> bool {
        match self {
            Purpose::Serve => false,
            Purpose::Health => key == "upstream.api_key",
        }
    }
}
