//! The paths and formats of the service.

/// The generation path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Text,
    Multimodal,
}

/// `result_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Message,
}
