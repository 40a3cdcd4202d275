//! What a service refuses, before a dialect spells it.

/// What an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Parameter,
    TooLong,
    TooLarge,
    Cap,
    Filter,
    FilterInAnswer,
    Image,
    Key,
    Rights,
    Money,
    Model,
    Path,
    Rate,
    Full,
    Loading,
    Fault,
}

/// An error of the service. What is `None` is filled in by the dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceError {
    pub kind: Option<Kind>,
    /// HTTP status.
    pub status: Option<u16>,
    /// The service's code, `InvalidParameter` for example.
    pub code: Option<String>,
    /// The service's message.
    pub message: Option<String>,
    /// Seconds after which the client may ask again.
    pub retry_after: Option<u64>,
}

impl ServiceError {
    /// An error of this kind, with its usual code, status and message.
    pub fn of(kind: Kind) -> Self {
        ServiceError { kind: Some(kind), ..ServiceError::default() }
    }

    /// The error of most invalid requests.
    pub fn parameter(message: impl Into<String>) -> Self {
        ServiceError { message: Some(message.into()), ..Self::of(Kind::Parameter) }
    }

    /// The error with this code, with its usual status and message.
    pub(super) fn coded(code: &str) -> Self {
        ServiceError { code: Some(code.to_owned()), ..ServiceError::default() }
    }
}

/// An error with everything that a dialect writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ErrorAnswer {
    /// HTTP status.
    pub status: u16,
    /// Empty for none.
    pub code: String,
    pub message: String,
    /// `type` of the chat dialect.
    pub class: &'static str,
    /// `param` of the chat dialect; empty for none.
    pub param: &'static str,
}
