//! What a key may do, by its spelling.
use super::error::{Kind, ServiceError};

/// Checks a key where none is configured: empty ones and those that begin with `sk-invalid`, `sk-poor` and
/// `sk-limited` are refused. The number in `sk-limited-N-…` is the seconds of `retry-after`.
///
/// # Errors
/// The error that the service would return.
pub fn check_key(key: &str, is_optional: bool) -> Result<(), ServiceError> {
    if let Some(rest) = key.strip_prefix("sk-limited") {
        let seconds = rest.strip_prefix('-').and_then(|rest| rest.split('-').next()?.parse().ok());
        return Err(ServiceError { retry_after: seconds, ..ServiceError::of(Kind::Rate) });
    }
    match key {
        "" if !is_optional => Err(ServiceError::of(Kind::Key)),
        key if key.starts_with("sk-invalid") => Err(ServiceError::of(Kind::Key)),
        key if key.starts_with("sk-poor") => Err(ServiceError::of(Kind::Money)),
        _ => Ok(()),
    }
}

/// Checks a key's rights to a model: `sk-only-MODEL-…` has them to this one.
///
/// # Errors
/// The error that the service would return.
pub fn check_rights(key: &str, model: &str) -> Result<(), ServiceError> {
    let Some(only) = key.strip_prefix("sk-only-") else { return Ok(()) };
    let rest = only.strip_prefix(model);
    let is_allowed = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    if is_allowed { Ok(()) } else { Err(ServiceError::of(Kind::Rights)) }
}

/// A mark of a key, by which statistics tell keys apart without a letter of them; empty for no key.
pub fn mark(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{:08x}", super::plan::seed_of(key) >> 32) }
}
